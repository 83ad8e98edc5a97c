/** ECREATE. Intel SDM Vol. 3D, "ECREATE—Create an SECS page in the Enclave Page Cache", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, mixNumbers, PT, secinfo, u16, u32, u64, zero } from '../model.js';
import { GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';
import { freeEntry } from '../state.js';

const GPRSGX = 184;
/** XSAVE area of the legal values of XFRM that the driver uses, by highest component. */
const XSAVE_SIZE: readonly [bit: number, size: number][] = [
  [0x200, 2696],
  [0xe0, 2688],
  [4, 832],
  [3, 576],
];

/** Bytes of the XSAVE area. */
export function xsaveSize(xfrm: number): number {
  return XSAVE_SIZE.find(([bit]) => (xfrm & bit) !== 0)![1];
}

export function ecreate(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const pageinfo = m.read(rbx, 32);
  if (!pageinfo) return pf(rbx);
  const source = u64(pageinfo, 8);
  const secinfoAt = u64(pageinfo, 16);
  if (!aligned(source, PAGE) || !aligned(secinfoAt, 64)) return GP;
  if (!zero(pageinfo, 0, 8) || !zero(pageinfo, 24, 32)) return GP;
  const info = m.read(secinfoAt, 64);
  if (!info) return pf(secinfoAt);
  const s = secinfo(info);
  if (!s.reservedZero || s.type !== PT.SECS) return GP;
  const entry = m.epcm(rcx);
  if (entry.valid) return pf(rcx);
  const secs = m.read(source, PAGE);
  if (!secs) return pf(source);
  if (!secsRight(m, secs)) return GP;
  if (m.enclaves.length >= m.p.maxEnclaves || m.refuse === 'memory') return REFUSED;
  const enclave = {
    eid: m.nextEid++,
    frame: m.frameOf(rcx),
    base: u64(secs, 8),
    size: u64(secs, 0),
    flags: u32(secs, 48) & ~1,
    xfrm: u32(secs, 56),
    miscselect: u32(secs, 20),
    ssaFrameSize: u32(secs, 16),
    initialized: false,
    configSvn: u16(secs, 260),
    isvSvn: 0,
    measurement: mixNumbers(1, u32(secs, 16), u64(secs, 0)),
    gates: 0,
    provisionAuthorized: false,
    cycle: [],
    tcsAddresses: new Set<number>(),
  };
  m.enclaves.push(enclave);
  Object.assign(entry, freeEntry(), { valid: true, type: PT.SECS, enclave });
  return OK;
}

function secsRight(m: Model, secs: Uint8Array): boolean {
  const size = u64(secs, 0);
  const base = u64(secs, 8);
  const flags = u32(secs, 48);
  const xfrm = u32(secs, 56);
  const misc = u32(secs, 20);
  const mode64 = (flags & FLAG.MODE64BIT) !== 0;
  if ((xfrm & 3) !== 3 || u32(secs, 60) !== 0 || (xfrm & ~m.p.xfrm) !== 0) return false;
  const avx512 = xfrm & 0xe0;
  if (avx512 !== 0 && (avx512 !== 0xe0 || (xfrm & 4) === 0)) return false;
  // CET is not offered.
  if (!zero(secs, 24, 33)) return false;
  if ((misc & ~m.p.miscselect) !== 0) return false;
  if (u32(secs, 16) * PAGE < xsaveSize(xfrm) + GPRSGX + (misc & 1) * 16) return false;
  if (mode64 ? !(base < 0x8000_0000_0000) : !(base < 0x1_0000_0000)) return false;
  if (!(size < 2 ** (mode64 ? m.p.sizeBits64 : m.p.sizeBits32))) return false;
  if (size < 2 * PAGE || 2 ** Math.round(Math.log2(size)) !== size) return false;
  if (base % size !== 0) return false;
  if ((flags & ~m.p.attributes) !== 0 || u32(secs, 52) !== 0) return false;
  const reserved: [number, number][] = [
    [33, 48],
    [96, 128],
    [160, 192],
    [262, PAGE],
  ];
  if (!reserved.every(([from, to]) => zero(secs, from, to))) return false;
  return (flags & FLAG.KSS) !== 0 || (zero(secs, 192, 256) && zero(secs, 260, 262));
}
