/** EMODPE. Intel SDM Vol. 3D, "EMODPE—Extend an EPC Page Permissions", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, secinfo } from '../model.js';
import { GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

export function emodpe(m: Model, enclave: Enclave, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 64) || !aligned(rcx, PAGE)) return GP;
  if (!inElrange(enclave, rbx) || !inElrange(enclave, rcx)) return GP;
  const at = pageOf(m, enclave, rbx);
  if (!at) return pf(rbx);
  const entry = pageOf(m, enclave, rcx);
  if (!entry) return pf(rcx);
  if (!settled(at) || !at.r) return pf(rbx);
  const info = secinfo(at.content!.subarray(rbx % PAGE, (rbx % PAGE) + 64));
  if (!info.reservedZero) return GP;
  if (!settled(entry)) return pf(rcx);
  if (!entry.r && !info.r && info.w) return GP;
  entry.r ||= info.r;
  entry.w ||= info.w;
  entry.x ||= info.x;
  return OK;
}
