/** EAUG. Intel SDM Vol. 3D, "EAUG—Add a Page to an Initialized Enclave", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT, u64, zero } from '../model.js';
import { GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';
import { freeEntry } from '../state.js';

export function eaug(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  let bad = m.notMine(rcx);
  if (bad) return bad;
  const pageinfo = m.read(rbx, 32);
  if (!pageinfo) return pf(rbx);
  const linaddr = u64(pageinfo, 0);
  const secinfoAt = u64(pageinfo, 16);
  const secsAt = u64(pageinfo, 24);
  if (!aligned(secinfoAt, 64)) return GP;
  if (!aligned(secsAt, PAGE) || !aligned(linaddr, PAGE)) return GP;
  if (!zero(pageinfo, 8, 16)) return GP;
  bad = m.notMine(secsAt);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (entry.valid) return pf(rcx);
  if (secinfoAt !== 0) {
    // Shadow-stack pages only, and CET is not offered: every SECINFO is refused, once it can be read.
    return m.read(secinfoAt, 64) ? GP : pf(secinfoAt);
  }
  const secs = m.epcm(secsAt);
  if (!secs.valid || secs.type !== PT.SECS) return pf(secsAt);
  const enclave = secs.enclave!;
  if (!enclave.initialized) return GP;
  if (!(linaddr >= enclave.base && linaddr < enclave.base + enclave.size)) return GP;
  if (m.p.oneFramePerAddress && m.pageAt(enclave, linaddr)) return GP;
  if (m.refuse === 'write') return REFUSED;
  Object.assign(entry, freeEntry(), {
    valid: true,
    type: PT.REG,
    r: true,
    w: true,
    pending: true,
    enclave,
    address: linaddr,
    content: m.pages.take(),
  });
  return OK;
}
