/** ENCLU[EEXIT], executed by the processor. Source: Intel SDM Vol. 3D, "EEXIT—Exits an Enclave", Operation. */
import { checkList } from '../leaf/checks.js';

/** EEXIT's one check. A target inside the enclave is no fault: the fetch there gives a fixed pattern. */
export const EEXIT_CHECKS = checkList('EEXIT', [
  ['target-canonical', '#GP(0)', 'the target (RBX) is canonical', 'processor'],
] as const);
