/**
 * ENCLU[EVERIFYREPORT2] on a processor that does not enumerate it, which is every processor without TDX. Source: Intel
 * SDM Vol. 3D, "ENCLU—Execute an Enclave User Function of Specified Leaf Number", Operation.
 */
import { checkList, type LeafOutcome, trip } from '../leaf/checks.js';

/** The one check that EVERIFYREPORT2 comes to here. */
export const EVERIFYREPORT2_CHECKS = checkList('EVERIFYREPORT2', [
  ['enumerated', '#GP(0)', 'CPUID.(EAX=12H, ECX=0):EAX[7] = 1; there are no TD reports here, so it is 0'],
] as const);

/** Always #GP(0): a leaf number that is not supported. */
export function everifyreport2(): LeafOutcome {
  return trip(EVERIFYREPORT2_CHECKS, 'enumerated');
}
