/** EPA. Intel SDM Vol. 3D, "EPA—Add Version Array", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { GP, OK, type Outcome, pf } from '../outcome.js';
import { freeEntry } from '../state.js';

export function epa(m: Model, rbx: number, rcx: number): Outcome {
  if (rbx !== PT.VA || !aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (entry.valid) return pf(rcx);
  Object.assign(entry, freeEntry(), { valid: true, type: PT.VA, slots: [] });
  return OK;
}
