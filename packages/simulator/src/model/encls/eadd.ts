/** EADD. Intel SDM Vol. 3D, "EADD—Add a Page to an Uninitialized Enclave", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, mix, mixNumbers, PT, secinfo, u32, u64, zero } from '../model.js';
import { GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';
import { freeEntry } from '../state.js';

export function eadd(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  let bad = m.notMine(rcx);
  if (bad) return bad;
  const pageinfo = m.read(rbx, 32);
  if (!pageinfo) return pf(rbx);
  const linaddr = u64(pageinfo, 0);
  const source = u64(pageinfo, 8);
  const secinfoAt = u64(pageinfo, 16);
  const secsAt = u64(pageinfo, 24);
  if (!aligned(source, PAGE) || !aligned(secsAt, PAGE) || !aligned(secinfoAt, 64) || !aligned(linaddr, PAGE))
    return GP;
  bad = m.notMine(secsAt);
  if (bad) return bad;
  const scratch = m.read(secinfoAt, 64);
  if (!scratch) return pf(secinfoAt);
  const info = secinfo(scratch);
  if (!info.reservedZero || (info.type !== PT.REG && info.type !== PT.TCS)) return GP;
  const entry = m.epcm(rcx);
  if (entry.valid) return pf(rcx);
  const secs = m.epcm(secsAt);
  if (!secs.valid || secs.type !== PT.SECS) return pf(secsAt);
  const enclave = secs.enclave!;
  const page = m.read(source, PAGE);
  if (!page) return pf(source);
  const tcs = info.type === PT.TCS;
  if (tcs) {
    if ((page[8] & 0xfc) !== 0 || !zero(page, 9, 16) || !zero(page, 72, PAGE)) return GP;
    const limits = (u32(page, 64) & u32(page, 68) & 0xfff) === 0xfff;
    if ((enclave.flags & FLAG.MODE64BIT) === 0 && !limits) return GP;
  } else if (info.w && !info.r) return GP;
  if (!(linaddr >= enclave.base && linaddr < enclave.base + enclave.size)) return GP;
  if (enclave.initialized) return GP;
  if (m.p.oneFramePerAddress && m.pageAt(enclave, linaddr)) return GP;
  if (tcs && threads(m, enclave) >= m.p.maxThreads) return REFUSED;
  if (m.refuse === 'write') return REFUSED;
  const content = m.pages.take(page);
  const measured = scratch.slice();
  if (tcs) {
    measured[0] &= ~7;
    // STATE, DBGOPTIN, CSSA, AEP.
    content.fill(0, 0, 8);
    content[8] &= ~1;
    content.fill(0, 24, 28);
    content.fill(0, 40, 48);
  }
  enclave.measurement = mix(mixNumbers(enclave.measurement, 2, linaddr - enclave.base), measured);
  Object.assign(entry, freeEntry(), {
    valid: true,
    type: info.type,
    r: info.r && !tcs,
    w: info.w && !tcs,
    x: info.x && !tcs,
    enclave,
    address: linaddr,
    content,
  });
  return OK;
}

function threads(m: Model, enclave: object): number {
  return m.frames.filter((entry) => entry.valid && entry.type === PT.TCS && entry.enclave === enclave).length;
}
