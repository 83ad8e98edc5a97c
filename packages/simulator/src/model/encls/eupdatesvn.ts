/** EUPDATESVN. Intel, "Runtime Microcode Updates with Intel Software Guard Extensions". */
import type { Model } from '../model.js';
import { failed, type Outcome } from '../outcome.js';

/** The SVN of this processor never rises while it runs: at best there is nothing to update. */
export function eupdatesvn(m: Model): Outcome {
  return failed(m.frames.some((entry) => entry.valid) ? 'SGX_EPC_NOT_READY' : 'SGX_NO_UPDATE');
}
