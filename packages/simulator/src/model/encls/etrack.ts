/** ETRACK. Intel SDM Vol. 3D, "ETRACK—Activates EBLOCK Checks", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';

export function etrack(m: Model, rcx: number): Outcome {
  if (!aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid || entry.type !== PT.SECS) return pf(rcx);
  return beginCycle(m, entry.enclave!);
}

/** A tracking cycle: those who are inside now have to leave before it is complete. */
export function beginCycle(m: Model, enclave: Enclave): Outcome {
  const inside = m.inside(enclave);
  if (enclave.cycle.some((n) => inside.includes(n))) return failed('SGX_PREV_TRK_INCMPL');
  enclave.cycle = inside;
  for (const entry of m.frames) {
    if (!entry.valid || entry.enclave !== enclave || !entry.stale) continue;
    entry.stale = false;
    entry.waitFor = inside;
  }
  return OK;
}
