/** EBLOCK. Intel SDM Vol. 3D, "EBLOCK—Mark a page in EPC as Blocked", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { failed, GP, informed, OK, type Outcome } from '../outcome.js';

export function eblock(m: Model, rcx: number): Outcome {
  if (!aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return failed('SGX_PG_INVLD');
  if (entry.type !== PT.REG && entry.type !== PT.TCS && entry.type !== PT.TRIM)
    return informed(entry.type === PT.SECS ? 'SGX_PG_IS_SECS' : 'SGX_NOTBLOCKABLE');
  if (entry.blocked) return informed('SGX_BLKSTATE');
  entry.blocked = true;
  m.touch(entry);
  return OK;
}
