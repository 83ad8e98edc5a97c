/** EACCEPT_RANGE, this machine's own: EACCEPT of new, restricted or trimmed pages one after the other, all of them or none. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, secinfo } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

export function eacceptRange(m: Model, enclave: Enclave, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, 64) || !inElrange(enclave, rbx)) return GP;
  const at = pageOf(m, enclave, rbx);
  if (!at || !settled(at) || !at.r) return pf(rbx);
  const info = secinfo(at.content!.subarray(rbx % PAGE, (rbx % PAGE) + 64));
  if (!info.reservedZero || rdx < 1 || rdx > 1024 || !aligned(rcx, PAGE)) return GP;
  if (!inElrange(enclave, rcx) || !inElrange(enclave, rcx + (rdx - 1) * PAGE)) return GP;
  const fresh = info.type === PT.REG && info.pending && !info.pr && !info.modified;
  const restricted = info.type === PT.REG && info.pr && !info.pending && !info.modified;
  const trimmed = info.type === PT.TRIM && info.modified && !info.pr && !info.pending;
  if (!fresh && !restricted && !trimmed) return GP;
  const entries = Array.from({ length: rdx }, (_, i) => pageOf(m, enclave, rcx + i * PAGE));
  for (const [i, entry] of entries.entries()) {
    if (!entry || entry.blocked) return pf(rcx + i * PAGE);
    const { pending, modified, r, w, x, type } = entry;
    if (pending !== info.pending || modified !== info.modified || type !== info.type)
      return failed('SGX_PAGE_ATTRIBUTES_MISMATCH');
    if (r !== info.r || w !== info.w || x !== info.x) return failed('SGX_PAGE_ATTRIBUTES_MISMATCH');
    if (!m.tracked(entry)) return failed('SGX_NOT_TRACKED');
  }
  for (const entry of entries) Object.assign(entry!, { pending: false, modified: false, pr: false });
  return OK;
}
