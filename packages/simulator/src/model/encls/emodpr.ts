/** EMODPR. Intel SDM Vol. 3D, "EMODPR—Restrict the Permissions of an EPC Page", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, secinfo } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';

export function emodpr(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 64) || !aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const scratch = m.read(rbx, 64);
  if (!scratch) return pf(rbx);
  const info = secinfo(scratch);
  if (!info.reservedZero || (!info.r && info.w)) return GP;
  const entry = m.epcm(rcx);
  if (!entry.valid) return pf(rcx);
  if (entry.pending || entry.modified) return failed('SGX_PAGE_NOT_MODIFIABLE');
  if (entry.type !== PT.REG) return pf(rcx);
  if (!entry.enclave!.initialized) return GP;
  entry.pr = true;
  entry.r &&= info.r;
  entry.w &&= info.w;
  entry.x &&= info.x;
  m.touch(entry);
  return OK;
}
