/** EACCEPTCOPY. Intel SDM Vol. 3D, "EACCEPTCOPY—Initialize a Pending Page", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, secinfo } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

export function eacceptcopy(m: Model, enclave: Enclave, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, 64) || !aligned(rcx, PAGE) || !aligned(rdx, PAGE)) return GP;
  if (!inElrange(enclave, rbx) || !inElrange(enclave, rcx) || !inElrange(enclave, rdx)) return GP;
  const at = pageOf(m, enclave, rbx);
  if (!at) return pf(rbx);
  const target = pageOf(m, enclave, rcx);
  if (!target) return pf(rcx);
  const source = pageOf(m, enclave, rdx);
  if (!source) return pf(rdx);
  if (!settled(at) || !at.r) return pf(rbx);
  const info = secinfo(at.content!.subarray(rbx % PAGE, (rbx % PAGE) + 64));
  if (!info.reservedZero || (!info.r && info.w) || info.type !== PT.REG) return GP;
  if (!settled(source) || !source.r) return pf(rdx);
  const fresh = target.pending && !target.modified && !target.blocked && target.type === PT.REG;
  if (!fresh || !target.r || !target.w || target.x) return failed('SGX_PAGE_ATTRIBUTES_MISMATCH');
  target.content!.set(source.content!);
  target.r = info.r;
  target.w = info.w;
  target.x = info.x;
  target.pending = false;
  return OK;
}
