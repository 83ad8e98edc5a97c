/** PVALIDATE (AMD APM vol. 3): VMPL0 sets or clears the Validated bit of a page. */
import { GeneralProtection } from '../faults.js';
import { RMP_RESULT, type RmpResult } from './result.js';
import { ENTRY, type RmpTable } from './table.js';
import { isPageOperand, pagesOf, translate } from './translate.js';

/** EAX and rFLAGS.CF: `carry` says that the bit had the value already. Only meaningful with code 0. */
export interface PvalidateResult {
  code: RmpResult;
  carry: boolean;
}

/**
 * Executes PVALIDATE at `callerVmpl` on the page at `gpa` with ECX = `size`, EDX = `validate`. Checks in order:
 * #GP(0) above VMPL0 (throws {@link GeneralProtection}); FAIL_INPUT: size not 0 or 1, address misaligned for
 * it; #NPF: RMP-covered, guest-owned, reverse-map, mutable; page size: #NPF with SIZEM or FAIL_SIZEMISMATCH.
 * A page whose validation is rescinded leaves guest RAM; one that comes back is scrubbed.
 */
export function pvalidate(
  table: RmpTable,
  callerVmpl: number,
  gpa: number,
  size: number,
  validate: boolean,
): PvalidateResult {
  if (callerVmpl !== 0) throw new GeneralProtection(`PVALIDATE at VMPL${callerVmpl}`);
  if (!isPageOperand(gpa, size)) return { code: RMP_RESULT.FAIL_INPUT, carry: false };
  const region = translate(table, callerVmpl, gpa, size);
  if (typeof region === 'number') return { code: region, carry: false };
  const page = region.pageOf(gpa);
  const word = region.word(page);
  if (((word & ENTRY.VALIDATED) !== 0) === validate) return { code: RMP_RESULT.SUCCESS, carry: true };
  region.setWord(page, validate ? word | ENTRY.VALIDATED : word & ~ENTRY.VALIDATED);
  table.onChange(region, page, pagesOf(size), false);
  return { code: RMP_RESULT.SUCCESS, carry: false };
}
