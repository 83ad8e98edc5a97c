/** EACCEPT. Intel SDM Vol. 3D, "EACCEPT—Accept Changes to an EPC Page", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, PT, secinfo, u32, zero } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

export function eaccept(m: Model, enclave: Enclave, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 64) || !inElrange(enclave, rbx)) return GP;
  const at = pageOf(m, enclave, rbx);
  if (!at || !settled(at) || !at.r) return pf(rbx);
  const info = secinfo(at.content!.subarray(rbx % PAGE, (rbx % PAGE) + 64));
  if (!info.reservedZero) return GP;
  if (!aligned(rcx, PAGE) || !inElrange(enclave, rcx)) return GP;
  const entry = pageOf(m, enclave, rcx);
  if (!entry) return pf(rcx);
  const newOrRestricted = info.type === PT.REG && (info.pr || info.pending) && !info.modified;
  const retyped =
    (info.type === PT.TCS || info.type === PT.TRIM) && !info.pr && !info.pending && info.modified;
  if (!newOrRestricted && !retyped) return GP;
  if (entry.blocked) return pf(rcx);
  if (
    entry.pending !== info.pending ||
    entry.modified !== info.modified ||
    entry.r !== info.r ||
    entry.w !== info.w ||
    entry.x !== info.x ||
    entry.type !== info.type
  )
    return failed('SGX_PAGE_ATTRIBUTES_MISMATCH');
  if (!m.tracked(entry)) return failed('SGX_NOT_TRACKED');
  if (info.type === PT.TCS) {
    const tcs = entry.content!;
    if (!zero(tcs, 72, PAGE) || (tcs[8] & 0xfc) !== 0 || !zero(tcs, 9, 16)) return GP;
    const clean = (tcs[8] & 1) === 0 && zero(tcs, 40, 48) && zero(tcs, 0, 8);
    if (!clean || u32(tcs, 24) >= u32(tcs, 28)) return GP;
    const limits = (u32(tcs, 64) & u32(tcs, 68) & 0xfff) === 0xfff;
    if ((enclave.flags & FLAG.MODE64BIT) === 0 && !limits) return GP;
  }
  entry.pending = false;
  entry.modified = false;
  entry.pr = false;
  return OK;
}
