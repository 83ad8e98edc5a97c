/** ETRACKC. Intel SDM Vol. 3D, "ETRACKC—Activates EBLOCK Checks", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { failed, GP, informed, type Outcome } from '../outcome.js';
import { beginCycle } from './etrack.js';

export function etrackc(m: Model, rcx: number): Outcome {
  if (!aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return failed('SGX_PG_INVLD');
  if (entry.type === PT.VA) return informed('SGX_TRACK_NOT_REQUIRED');
  return beginCycle(m, entry.enclave!);
}
