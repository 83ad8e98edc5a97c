/**
 * ENCLS[EUPDATESVN]. Source: Intel, "Runtime Microcode Updates with Intel Software Guard Extensions"; the codes and their
 * meaning as Linux documents them (arch/x86/include/asm/sgx.h).
 */
import { checkList, type LeafOutcome, trip } from '../leaf/checks.js';
import type { MonitorState } from '../state/state.js';

/** EUPDATESVN's checks. */
export const EUPDATESVN_CHECKS = checkList('EUPDATESVN', [
  ['epc-unused', 'SGX_EPC_NOT_READY', 'no page of the whole EPC is valid'],
  ['entropy', 'SGX_INSUFFICIENT_ENTROPY', 'there is randomness for new keys'],
  ['svn-newer', 'SGX_NO_UPDATE', 'the SVN is newer than CPUSVN; new keys are in use all the same'],
] as const);

/**
 * Makes a new CR_BASE_PK. The SVN of this processor is part of its launch measurement and never rises while it runs, so
 * the answer to a success is SGX_NO_UPDATE.
 */
export function eupdatesvn(s: MonitorState): LeafOutcome {
  if (s.epcm.validCount !== 0) return trip(EUPDATESVN_CHECKS, 'epc-unused');
  if (!s.pageCipher.renew()) return trip(EUPDATESVN_CHECKS, 'entropy');
  return trip(EUPDATESVN_CHECKS, 'svn-newer');
}
