/** ENCLS[ECREATE]. Source: Intel SDM Vol. 3D, "ECREATE—Create an SECS page in the Enclave Page Cache", Operation. */
import {
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  PT_SECS,
  readU32,
  readU64,
  SECINFO,
  SECS,
  writeU64,
} from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { attempt } from '../state/available.js';
import { EnclaveRecord } from '../state/enclave.js';
import { NO_FRAME } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { GPRSGX_SIZE, miscSize, xfrmLegal, xsaveSize } from '../state/platform.js';
import { allZero, type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';

/** ECREATE's checks, in the manual's order. */
export const ECREATE_CHECKS = checkList('ECREATE', [
  ['pageinfo-aligned', '#GP(0)', 'PAGEINFO (RBX) is 32-byte aligned'],
  ['secs-page-aligned', '#GP(0)', 'the SECS page (RCX) is 4096-byte aligned'],
  ['secs-page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['secs-page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['pageinfo-readable', '#PF', 'PAGEINFO can be read'],
  ['sources-aligned', '#GP(0)', 'SRCPGE is 4096-byte and SECINFO 64-byte aligned'],
  ['linaddr-secs-zero', '#GP(0)', 'PAGEINFO.LINADDR and PAGEINFO.SECS are 0'],
  ['secinfo-readable', '#PF', 'SECINFO can be read'],
  ['secinfo-valid', '#GP(0)', 'SECINFO has PT_SECS and no reserved bit'],
  ['epc-page-free', '#PF', 'EPCM(RCX).VALID = 0'],
  ['source-readable', '#PF', 'the source page can be read'],
  ['xfrm-legacy', '#GP(0)', 'XFRM[1:0] = 3'],
  ['xfrm-legal', '#GP(0)', 'XFRM is legal on this platform'],
  ['cet-zero', '#GP(0)', 'CET is not offered: CET_ATTRIBUTES and CET_LEG_BITMAP_OFFSET are 0'],
  ['miscselect-supported', '#GP(0)', 'MISCSELECT has supported bits only'],
  ['ssaframe-large-enough', '#GP(0)', 'SSAFRAMESIZE holds XSAVE, MISC and GPRSGX'],
  ['base-canonical', '#GP(0)', 'MODE64BIT: BASEADDR is canonical (and in the user half)'],
  ['base-below-4g', '#GP(0)', 'not MODE64BIT: BASEADDR is below 4 GiB'],
  ['size-limit-32', '#GP(0)', 'not MODE64BIT: SIZE is below the limit of CPUID.12H'],
  ['size-limit-64', '#GP(0)', 'MODE64BIT: SIZE is below the limit of CPUID.12H'],
  ['size-power-of-two', '#GP(0)', 'SIZE is a power of two and at least 8192'],
  ['base-aligned', '#GP(0)', 'BASEADDR is a multiple of SIZE'],
  ['attributes-supported', '#GP(0)', 'ATTRIBUTES has supported bits only'],
  ['secs-reserved-zero', '#GP(0)', 'reserved fields of the SECS are 0'],
  ['kss-fields', '#GP(0)', 'CONFIGID and CONFIGSVN are 0 without ATTRIBUTES.KSS'],
  [
    'enclave-limit',
    'REFUSED',
    'fewer enclaves exist than the machine and its share for a guest allow',
    'deviation',
  ],
  ['memory-available', 'REFUSED', 'the machine can make the memory of the enclave', 'deviation'],
] as const);

const USER_HALF = 0x8000_0000_0000;

/** RBX = PAGEINFO, RCX = destination EPC page. */
export function ecreate(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = ECREATE_CHECKS;
  if (rbx % 32 !== 0) return trip(C, 'pageinfo-aligned');
  if (rcx % 4096 !== 0) return trip(C, 'secs-page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'secs-page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'secs-page-owned');
  const pageinfo = readGuest(s, rbx, 32);
  if (pageinfo === null) return trip(C, 'pageinfo-readable', rbx, PF_ACCESS);
  const srcpge = u64ToNumber(pageinfo, 8);
  const secinfoAt = u64ToNumber(pageinfo, 16);
  if (srcpge % 4096 !== 0 || secinfoAt % 64 !== 0) return trip(C, 'sources-aligned');
  if (!allZero(pageinfo, 0, 8) || !allZero(pageinfo, 24, 32)) return trip(C, 'linaddr-secs-zero');
  const secinfo = readGuest(s, secinfoAt, SECINFO.size);
  if (secinfo === null) return trip(C, 'secinfo-readable', secinfoAt, PF_ACCESS);
  // Reserved: FLAGS[7:6], FLAGS[63:16] and everything after FLAGS.
  if ((secinfo[0] & 0xc0) !== 0 || secinfo[1] !== PT_SECS || !allZero(secinfo, 2))
    return trip(C, 'secinfo-valid');
  if (s.epcm.valid(frame)) return trip(C, 'epc-page-free', rcx);
  const secs = readGuest(s, srcpge, SECS.size);
  if (secs === null) return trip(C, 'source-readable', srcpge, PF_ACCESS);
  const refused = checkSecs(s, secs);
  if (refused !== null) return refused;
  if (enclavesFull(s, owner)) return trip(C, 'enclave-limit');

  clearToUninitialized(secs);
  const measurement = s.hashing.measurement();
  measurement.ecreate(readU32(secs, SECS.offsets.SSAFRAMESIZE), readU64(secs, SECS.offsets.SIZE));
  const memory = attempt(() => s.processor.createMemory(u64ToNumber(secs, SECS.offsets.SIZE)), s.failures);
  if (memory === null) {
    measurement.release?.();
    return trip(C, 'memory-available');
  }
  const enclave = new EnclaveRecord(s.nextEid++, owner.id, frame, secs, memory, measurement);
  s.enclaves.set(frame, enclave);
  s.epcm.fill(frame, PT_SECS, NO_FRAME, 0);
  return DONE;
}

/** The checks of the SECS contents. */
function checkSecs(s: MonitorState, secs: Uint8Array): LeafOutcome | null {
  const C = ECREATE_CHECKS;
  const o = SECS.offsets;
  const flags = readU64(secs, o.ATTRIBUTES);
  const xfrm = readU64(secs, o.ATTRIBUTES + 8);
  const miscselect = readU32(secs, o.MISCSELECT);
  const mode64 = (flags & ATTRIBUTES_MODE64BIT) !== 0n;
  const size = u64ToNumber(secs, o.SIZE);
  const base = u64ToNumber(secs, o.BASEADDR);
  if ((xfrm & 3n) !== 3n) return trip(C, 'xfrm-legacy');
  if (!xfrmLegal(s.platform, xfrm)) return trip(C, 'xfrm-legal');
  if (!allZero(secs, o.CET_LEG_BITMAP_OFFSET, o.CET_ATTRIBUTES + 1)) return trip(C, 'cet-zero');
  if ((miscselect & ~s.platform.miscselectMask) !== 0) return trip(C, 'miscselect-supported');
  const needed = xsaveSize(s.platform, xfrm) + GPRSGX_SIZE + miscSize(miscselect);
  if (readU32(secs, o.SSAFRAMESIZE) * 4096 < needed) return trip(C, 'ssaframe-large-enough');
  if (mode64 && base >= USER_HALF) return trip(C, 'base-canonical');
  if (!mode64 && base >= 2 ** 32) return trip(C, 'base-below-4g');
  if (!mode64 && size >= 2 ** s.platform.maxSizeBits32) return trip(C, 'size-limit-32');
  if (mode64 && size >= 2 ** s.platform.maxSizeBits64) return trip(C, 'size-limit-64');
  const exponent = Math.log2(size);
  if (size < 8192 || !Number.isInteger(exponent)) return trip(C, 'size-power-of-two');
  if (base % size !== 0) return trip(C, 'base-aligned');
  if ((flags & ~s.platform.attributesMask) !== 0n) return trip(C, 'attributes-supported');
  if (SECS.firstReservedNonZero(secs) !== -1) return trip(C, 'secs-reserved-zero');
  const kssFields =
    !allZero(secs, o.CONFIGID, o.CONFIGID + 64) || !allZero(secs, o.CONFIGSVN, o.CONFIGSVN + 2);
  if (kssFields && (flags & ATTRIBUTES_KSS) === 0n) return trip(C, 'kss-fields');
  return null;
}

/** MRENCLAVE, MRSIGNER, ISVPRODID and ISVSVN are the processor's to set; ATTRIBUTES.INIT := 0. */
function clearToUninitialized(secs: Uint8Array): void {
  const o = SECS.offsets;
  secs.fill(0, o.MRENCLAVE, o.MRENCLAVE + 32);
  secs.fill(0, o.MRSIGNER, o.MRSIGNER + 32);
  secs.fill(0, o.ISVPRODID, o.ISVSVN + 2);
  writeU64(secs, o.ATTRIBUTES, readU64(secs, o.ATTRIBUTES) & ~1n);
}

/** The machine has its limit, and half of it is one guest's at most, so that a greedy one leaves room for others. */
function enclavesFull(s: MonitorState, owner: FrameOwner): boolean {
  const { maxEnclaves } = s.platform;
  if (s.enclaves.size + s.evictedEnclaves.size >= maxEnclaves) return true;
  if (s.enclaves.size + s.evictedEnclaves.size < maxEnclaves / 2) return false;
  let own = 0;
  for (const enclave of s.enclaves.values()) if (enclave.owner === owner.id) own++;
  for (const { enclave } of s.evictedEnclaves.values()) if (enclave.owner === owner.id) own++;
  return own >= maxEnclaves / 2;
}
