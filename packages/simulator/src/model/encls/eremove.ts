/** EREMOVE. Intel SDM Vol. 3D, "EREMOVE—Remove a page from the EPC", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { failed, GP, OK, type Outcome } from '../outcome.js';
import type { Sealed } from '../state.js';

export function eremove(m: Model, rcx: number): Outcome {
  if (!aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return OK;
  if (entry.type === PT.VA) {
    for (const sealed of entry.slots!) if (sealed) lose(m, sealed);
    m.remove(entry);
    return OK;
  }
  // The pseudo-code names this case twice; the description says that the page becomes invalid.
  if (entry.type === PT.TRIM && !entry.modified) {
    m.remove(entry);
    return OK;
  }
  const enclave = entry.enclave!;
  if (entry.type === PT.SECS) {
    if (m.children(enclave) !== 0) return failed('SGX_CHILD_PRESENT');
    m.forget(enclave);
    m.remove(entry);
    return OK;
  }
  if (m.inside(enclave).length !== 0) return failed('SGX_ENCLAVE_ACT');
  m.remove(entry);
  return OK;
}

/** With its version an evicted page can never come back; with the version of its SECS an enclave cannot. */
function lose(m: Model, sealed: Sealed): void {
  if (sealed.type === PT.SECS) m.forget(sealed.enclave!);
}
