/**
 * ENCLU[EDECCSSA]. The processor executes it; what it asks of SSA pages is checked here when a thread is admitted, and
 * again when such a page changes. Source: Intel SDM Vol. 3D, "EDECCSSA—Decrements TCS.CSSA", Operation.
 */
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import type { MonitorState } from '../state/state.js';
import { gprPageFault, tcsFields, xsavePageFault } from './entry.js';

/** EDECCSSA's checks, in the manual's order. */
export const EDECCSSA_CHECKS = checkList('EDECCSSA', [
  ['cssa-positive', '#GP(0)', 'CSSA is not 0'],
  [
    'ssa-page',
    '#PF',
    'every page of SSA frame CSSA − 1 is a settled, readable and writable PT_REG page of this enclave',
  ],
  ['gpr-page', '#PF', 'so is the page of its GPRSGX'],
] as const);

/** EDECCSSA's checks of a thread that has `cssa`. `tcs` is a copy of the first 72 bytes of its TCS. */
export function checkDecrement(
  s: MonitorState,
  enclave: EnclaveRecord,
  cssa: number,
  tcs: Uint8Array,
): LeafOutcome {
  const C = EDECCSSA_CHECKS;
  if (cssa === 0) return trip(C, 'cssa-positive');
  const { ossa } = tcsFields(tcs);
  const ssa = xsavePageFault(s, enclave, ossa, cssa - 1);
  if (ssa >= 0) return trip(C, 'ssa-page', ssa);
  const gpr = gprPageFault(s, enclave, ossa, cssa - 1);
  if (gpr >= 0) return trip(C, 'gpr-page', gpr);
  return DONE;
}
