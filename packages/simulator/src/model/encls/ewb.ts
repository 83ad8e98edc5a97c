/** EWB. Intel SDM Vol. 3D, "EWB—Invalidate an EPC Page and Write out to Main Memory", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, u64, zero } from '../model.js';
import { failed, GP, informed, OK, type Outcome, pf } from '../outcome.js';
import type { Entry, Sealed } from '../state.js';

export function ewb(m: Model, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  let bad = m.notMine(rcx);
  if (bad) return bad;
  if (!aligned(rdx, 8)) return GP;
  bad = m.notMine(rdx);
  if (bad) return bad;
  if (m.frameOf(rcx) === m.frameOf(rdx)) return GP;
  const pageinfo = m.read(rbx, 32);
  if (!pageinfo) return pf(rbx);
  const target = u64(pageinfo, 8);
  const pcmdAt = u64(pageinfo, 16);
  if (!zero(pageinfo, 0, 8) || !zero(pageinfo, 24, 32)) return GP;
  if (!aligned(pcmdAt, 128) || !aligned(target, PAGE)) return GP;
  const entry = m.epcm(rcx);
  const va = m.epcm(rdx);
  if (!entry.valid) return pf(rcx);
  if (!va.valid || va.type !== PT.VA) return pf(rdx);
  if (entry.type === PT.SECS) {
    if (m.children(entry.enclave!) !== 0) return failed('SGX_CHILD_PRESENT');
  } else if (entry.type !== PT.VA) {
    if (!entry.blocked) return failed('SGX_PAGE_NOT_BLOCKED');
    if (!m.tracked(entry)) return failed('SGX_NOT_TRACKED');
  }
  // Outputs; the manual does not order their faults.
  if (!m.mayAccess(target, PAGE, true)) return pf(target);
  if (!m.mayAccess(pcmdAt, 128, true)) return pf(pcmdAt);
  if (!m.mayAccess(rbx, 32, true)) return pf(rbx);
  const slot = (rdx % PAGE) / 8;
  const occupied = Boolean(va.slots![slot]);
  const sealed = seal(m, entry, target);
  // A version that is overwritten is lost with its page.
  const before = va.slots![slot];
  if (before?.type === PT.SECS) m.forget(before.enclave!);
  va.slots![slot] = sealed;
  m.writes.push({ gpa: target, length: PAGE, bytes: null });
  m.writes.push({ gpa: pcmdAt, length: 128, bytes: sealed.pcmd });
  const linaddr = new Uint8Array(8);
  new DataView(linaddr.buffer).setBigUint64(0, BigInt(entry.address), true);
  m.writes.push({ gpa: rbx, length: 8, bytes: linaddr });
  m.lastSealed = sealed;
  if (entry.type === PT.SECS) entry.enclave!.frame = -1;
  m.remove(entry);
  return occupied ? informed('SGX_VA_SLOT_OCCUPIED') : OK;
}

/** The page, its MAC header and its PCMD; cipher text and MAC are filled in by whoever sees them. */
function seal(m: Model, entry: Entry, gpa: number): Sealed {
  const child = entry.type !== PT.SECS && entry.type !== PT.VA;
  const pcmd = new Uint8Array(128);
  const bits = [entry.r, entry.w, entry.x, entry.pending, entry.modified, entry.pr];
  bits.forEach((on, i) => {
    if (on) pcmd[0] |= 1 << i;
  });
  pcmd[1] = entry.type;
  const enclaveId = entry.type === PT.VA ? 0 : entry.enclave!.eid;
  new DataView(pcmd.buffer).setBigUint64(64, BigInt(enclaveId), true);
  return {
    gpa,
    type: entry.type,
    eid: child ? entry.enclave!.eid : 0,
    address: entry.address,
    pcmd,
    cipher: m.noCipher,
    r: entry.r,
    w: entry.w,
    x: entry.x,
    pending: entry.pending,
    modified: entry.modified,
    pr: entry.pr,
    content: entry.content,
    slots: entry.slots,
    enclave: entry.type === PT.SECS ? entry.enclave : null,
  };
}
