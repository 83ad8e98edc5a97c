/** RMPADJUST (AMD APM vol. 3): a VMPL changes the permissions of less privileged ones. */
import { RMPADJUST } from '@nestedsgx/arch';
import { NestedPageFault, PageNotValidated } from '../faults.js';
import { RMP_RESULT, type RmpResult } from './result.js';
import { ENTRY, PERM, permShift, permsOf, type RmpTable, VMPLS } from './table.js';
import { isPageOperand, pagesOf, translate } from './translate.js';

/** Defined bits of RDX. */
const DEFINED = 0xff | (PERM.ALL << 8) | RMPADJUST.VMSA;

/**
 * Executes RMPADJUST at `callerVmpl` on the page at `gpa` with RCX = `size`, RDX = `attrs`. Checks in order:
 * 1. FAIL_INPUT: size not 0 or 1; address misaligned for it; reserved bits of RDX (the supervisor shadow
 *    stack permission is not offered); no such target VMPL; VMSA with a 2 MiB page.
 * 2. FAIL_PERMISSION: the target VMPL is not less privileged than the caller.
 * 3. #NPF: RMP-covered, guest-owned, reverse-map, mutable.
 * 4. Page size: #NPF with SIZEM, or FAIL_SIZEMISMATCH.
 * 5. #VC: not validated.  6. #NPF: the caller may not read the page.
 * 7. FAIL_INUSE: the page is the VMSA of a running vCPU.
 * 8. FAIL_PERMISSION: VMSA bit changed by a caller other than VMPL0; a permission the caller lacks; any
 *    permission for a monitor or EPC page, which have no memory that another VMPL could reach.
 * On success the target's permissions (and for VMPL0 the VMSA bit) are set, and real mappings follow.
 */
export function rmpadjust(
  table: RmpTable,
  callerVmpl: number,
  gpa: number,
  size: number,
  attrs: number,
): RmpResult {
  const target = attrs & RMPADJUST.TARGET_VMPL_MASK;
  const perms = (attrs >>> 8) & 0xff;
  const vmsa = (attrs & RMPADJUST.VMSA) !== 0;
  if (!isPageOperand(gpa, size) || !Number.isInteger(attrs) || attrs < 0 || attrs > DEFINED) {
    return RMP_RESULT.FAIL_INPUT;
  }
  if ((attrs & ~DEFINED) !== 0 || target >= VMPLS || (vmsa && size === 1)) return RMP_RESULT.FAIL_INPUT;
  if (target <= callerVmpl) return RMP_RESULT.FAIL_PERMISSION;
  const region = translate(table, callerVmpl, gpa, size);
  if (typeof region === 'number') return region;
  const page = region.pageOf(gpa);
  const word = region.word(page);
  if ((word & ENTRY.VALIDATED) === 0) throw new PageNotValidated(gpa, callerVmpl);
  const own = permsOf(word, callerVmpl);
  if ((own & PERM.R) === 0) throw new NestedPageFault(gpa, callerVmpl, 'r', 'vmpl');
  if ((word & ENTRY.IN_USE) !== 0) return RMP_RESULT.FAIL_INUSE;
  if (callerVmpl !== 0 && vmsa !== ((word & ENTRY.VMSA) !== 0)) return RMP_RESULT.FAIL_PERMISSION;
  if ((perms & ~own) !== 0) return RMP_RESULT.FAIL_PERMISSION;
  if (region.kind !== 'ram' && perms !== 0) return RMP_RESULT.FAIL_PERMISSION;

  let next = word & ~(PERM.ALL << permShift(target));
  next |= perms << permShift(target);
  if (callerVmpl === 0) next = vmsa ? next | ENTRY.VMSA : next & ~ENTRY.VMSA;
  region.setWord(page, next);
  table.onChange(region, page, pagesOf(size), false);
  return RMP_RESULT.SUCCESS;
}
