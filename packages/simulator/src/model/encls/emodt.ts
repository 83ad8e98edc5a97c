/** EMODT. Intel SDM Vol. 3D, "EMODT—Change the Type of an EPC Page", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, secinfo } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';

export function emodt(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 64) || !aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const scratch = m.read(rbx, 64);
  if (!scratch) return pf(rbx);
  const info = secinfo(scratch);
  if (!info.reservedZero || (info.type !== PT.TCS && info.type !== PT.TRIM)) return GP;
  const entry = m.epcm(rcx);
  if (!entry.valid) return pf(rcx);
  if (entry.type !== PT.REG && !(entry.type === PT.TCS && info.type === PT.TRIM)) return pf(rcx);
  if (entry.pending || entry.modified) return failed('SGX_PAGE_NOT_MODIFIABLE');
  if (!entry.enclave!.initialized) return GP;
  entry.pr = false;
  entry.modified = true;
  entry.r = false;
  entry.w = false;
  entry.x = false;
  entry.type = info.type;
  m.touch(entry);
  return OK;
}
