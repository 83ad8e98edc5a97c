/** ELDB, ELDU, ELDBC, ELDUC. Intel SDM Vol. 3D, "ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, u64 } from '../model.js';
import { failed, GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';
import { type Enclave, freeEntry, type Sealed } from '../state.js';

/** `block`: ELDB and ELDBC. The forms ending in C differ only in conflicts, which do not happen here. */
export function eld(m: Model, block: boolean, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  let bad = m.notMine(rcx);
  if (bad) return bad;
  if (!aligned(rdx, 8)) return GP;
  bad = m.notMine(rdx);
  if (bad) return bad;
  const pageinfo = m.read(rbx, 32);
  if (!pageinfo) return pf(rbx);
  const linaddr = u64(pageinfo, 0);
  const source = u64(pageinfo, 8);
  const pcmdAt = u64(pageinfo, 16);
  const secsAt = u64(pageinfo, 24);
  if (!aligned(pcmdAt, 128) || !aligned(source, PAGE)) return GP;
  const entry = m.epcm(rcx);
  const va = m.epcm(rdx);
  if (entry.valid) return pf(rcx);
  if (!va.valid || va.type !== PT.VA) return pf(rdx);
  const pcmd = m.read(pcmdAt, 128);
  if (!pcmd) return pf(pcmdAt);
  const type = pcmd[1];
  let enclave: Enclave | null = null;
  if (type === PT.REG || type === PT.TCS || type === PT.TRIM) {
    if (!aligned(secsAt, PAGE)) return GP;
    bad = m.notMine(secsAt);
    if (bad) return bad;
    const secs = m.epcm(secsAt);
    if (!secs.valid || secs.type !== PT.SECS) return pf(secsAt);
    enclave = secs.enclave!;
  }
  const cipher = m.read(source, PAGE);
  if (!cipher) return pf(source);
  const slot = (rdx % PAGE) / 8;
  const sealed = va.slots![slot];
  if (!sealed || !authentic(sealed, cipher, pcmd, linaddr, enclave?.eid ?? 0))
    return failed('SGX_MAC_COMPARE_FAIL');
  if (m.p.oneFramePerAddress && enclave !== null && m.pageAt(enclave, sealed.address)) return GP;
  if (enclave !== null && m.refuse === 'write') return REFUSED;
  va.slots![slot] = null;
  Object.assign(entry, freeEntry(), {
    valid: true,
    type: sealed.type,
    r: sealed.r,
    w: sealed.w,
    x: sealed.x,
    pending: sealed.pending,
    modified: sealed.modified,
    pr: sealed.pr,
    blocked: block && enclave !== null,
    enclave: enclave ?? sealed.enclave,
    address: sealed.address,
    content: sealed.content,
    slots: sealed.slots,
  });
  if (sealed.type === PT.SECS) sealed.enclave!.frame = m.frameOf(rcx);
  return OK;
}

/** Everything the MAC covers is what it was: page, SECINFO, reserved bytes, address, enclave, version, MAC. */
function authentic(s: Sealed, cipher: Uint8Array, pcmd: Uint8Array, linaddr: number, eid: number): boolean {
  if (linaddr !== s.address || eid !== s.eid) return false;
  // ENCLAVEID (bytes 64…71) is a handle for software and not covered.
  for (let i = 0; i < 128; i++) if ((i < 64 || i >= 72) && pcmd[i] !== s.pcmd[i]) return false;
  return Buffer.compare(cipher, s.cipher) === 0;
}
