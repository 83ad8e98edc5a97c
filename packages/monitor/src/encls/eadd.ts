/** ENCLS[EADD]. Source: Intel SDM Vol. 3D, "EADD—Add a Page to an Uninitialized Enclave", Operation. */
import {
  ATTRIBUTES_MODE64BIT,
  PT_REG,
  PT_SECS,
  PT_TCS,
  SECINFO,
  SECINFO_R,
  SECINFO_W,
} from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { secinfoFlags, secinfoReservedZero } from '../leaf/secinfo.js';
import { tcsLimitsWhole, tcsReservedZero } from '../leaf/tcs-page.js';
import { available } from '../state/available.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_RWX, NO_FRAME } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';
import { bindTcs, slotFree } from '../state/threads.js';

/** EADD's checks, in the manual's order. */
export const EADD_CHECKS = checkList('EADD', [
  ['pageinfo-aligned', '#GP(0)', 'PAGEINFO (RBX) is 32-byte aligned'],
  ['page-aligned', '#GP(0)', 'the destination (RCX) is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['pageinfo-readable', '#PF', 'PAGEINFO can be read'],
  ['sources-aligned', '#GP(0)', 'SRCPGE, SECS and LINADDR are 4096-byte, SECINFO 64-byte aligned'],
  ['secs-in-epc', '#PF', 'PAGEINFO.SECS resolves within the EPC'],
  ['secs-owned', 'REFUSED', 'the SECS belongs to the caller', 'deviation'],
  ['secinfo-readable', '#PF', 'SECINFO can be read'],
  ['secinfo-valid', '#GP(0)', 'SECINFO has PT_REG or PT_TCS and no reserved bit'],
  ['epc-page-free', '#PF', 'EPCM(RCX).VALID = 0'],
  ['secs-valid', '#PF', 'EPCM(SECS) is valid and PT_SECS'],
  ['source-readable', '#PF', 'the source page can be read'],
  ['tcs-reserved-zero', '#GP(0)', 'PT_TCS: reserved fields of the TCS are 0'],
  ['tcs-limits-32', '#GP(0)', 'PT_TCS, not MODE64BIT: FSLIMIT and GSLIMIT end in FFFH'],
  ['write-needs-read', '#GP(0)', 'PT_REG: W is not set without R'],
  ['linaddr-in-elrange', '#GP(0)', 'LINADDR lies in the ELRANGE'],
  ['not-initialized', '#GP(0)', 'the enclave is not initialized'],
  ['linaddr-free', '#GP(0)', 'no other frame holds this linear address (one backing page each)', 'deviation'],
  ['thread-limit', 'REFUSED', 'the enclave has fewer threads than the machine allows', 'deviation'],
  ['memory-available', 'REFUSED', 'the machine has memory to back the page', 'deviation'],
] as const);

const PAGE = 4096;
/** SECINFO.FLAGS as measured and as kept in the EPCM: PT << 8 | R W X (| bits that EADD ignores). */
const FLAGS_KEPT = 0xff00 | EPCM_RWX;

/** RBX = PAGEINFO, RCX = destination EPC page. */
export function eadd(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EADD_CHECKS;
  if (rbx % 32 !== 0) return trip(C, 'pageinfo-aligned');
  if (rcx % PAGE !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  const pageinfo = readGuest(s, rbx, 32);
  if (pageinfo === null) return trip(C, 'pageinfo-readable', rbx, PF_ACCESS);
  const linaddr = u64ToNumber(pageinfo, 0);
  const srcpge = u64ToNumber(pageinfo, 8);
  const secinfoAt = u64ToNumber(pageinfo, 16);
  const secsAt = u64ToNumber(pageinfo, 24);
  if (srcpge % PAGE !== 0 || secsAt % PAGE !== 0 || secinfoAt % 64 !== 0 || linaddr % PAGE !== 0)
    return trip(C, 'sources-aligned');
  const secsFrame = s.frames.resolve(owner, secsAt);
  if (secsFrame === NOT_EPC) return trip(C, 'secs-in-epc', secsAt, PF_ACCESS);
  if (secsFrame === FOREIGN) return trip(C, 'secs-owned');
  const secinfo = readGuest(s, secinfoAt, SECINFO.size);
  if (secinfo === null) return trip(C, 'secinfo-readable', secinfoAt, PF_ACCESS);
  if (!secinfoAddable(secinfo)) return trip(C, 'secinfo-valid');
  const before = eaddCheckEpcm(s, frame, rcx, secsFrame, secsAt);
  if (before !== null) return before;
  const enclave = s.enclaves.get(secsFrame)!;
  const page = readGuest(s, srcpge, PAGE);
  if (page === null) return trip(C, 'source-readable', srcpge, PF_ACCESS);
  const refused = eaddCheckPage(s, enclave, linaddr, secinfo, page, 0);
  if (refused !== null) return refused;
  if (secinfo[1] === PT_TCS) prepareTcs(secinfo, page, 0);
  const offset = linaddr - enclave.base;
  if (!available(() => enclave.memory.write(offset, page), s.failures)) return trip(C, 'memory-available');
  enclave.measurement.eadd(BigInt(offset), secinfo);
  eaddCommit(s, enclave, frame, linaddr, secinfo);
  return DONE;
}

/** Reserved bits of SECINFO are 0 and the page type is one that EADD takes. */
export function secinfoAddable(secinfo: Uint8Array): boolean {
  return secinfoReservedZero(secinfo) && (secinfo[1] === PT_REG || secinfo[1] === PT_TCS);
}

/** EADD's checks of the EPCM: the destination is free, the SECS is one. */
export function eaddCheckEpcm(
  s: MonitorState,
  frame: number,
  frameAddress: number,
  secsFrame: number,
  secsAddress: number,
): LeafOutcome | null {
  if (s.epcm.valid(frame)) return trip(EADD_CHECKS, 'epc-page-free', frameAddress);
  if (!s.epcm.valid(secsFrame) || s.epcm.type(secsFrame) !== PT_SECS)
    return trip(EADD_CHECKS, 'secs-valid', secsAddress);
  return null;
}

/** EADD's checks of the page's contents, its address and the enclave's state. The page lies at `at` of `bytes`. */
export function eaddCheckPage(
  s: MonitorState,
  enclave: EnclaveRecord,
  linaddr: number,
  secinfo: Uint8Array,
  bytes: Uint8Array,
  at: number,
): LeafOutcome | null {
  const C = EADD_CHECKS;
  if (secinfo[1] === PT_TCS) {
    if (!tcsReservedZero(bytes, at)) return trip(C, 'tcs-reserved-zero');
    if ((enclave.flags & ATTRIBUTES_MODE64BIT) === 0n && !tcsLimitsWhole(bytes, at))
      return trip(C, 'tcs-limits-32');
  } else if ((secinfo[0] & SECINFO_W) !== 0 && (secinfo[0] & SECINFO_R) === 0) {
    return trip(C, 'write-needs-read');
  }
  if (!(linaddr >= enclave.base && linaddr < enclave.base + enclave.size))
    return trip(C, 'linaddr-in-elrange');
  if (enclave.initialized) return trip(C, 'not-initialized');
  if (enclave.pages.get((linaddr - enclave.base) / PAGE) !== NO_FRAME) return trip(C, 'linaddr-free');
  if (secinfo[1] === PT_TCS && !slotFree(s, enclave)) return trip(C, 'thread-limit');
  return null;
}

/** For a TCS: no permissions, DBGOPTIN, CSSA, AEP and STATE cleared, in the copies that are measured and stored. */
export function prepareTcs(secinfo: Uint8Array, bytes: Uint8Array, at: number): void {
  secinfo[0] &= ~EPCM_RWX;
  bytes.fill(0, at, at + 8);
  bytes[at + 8] &= ~1;
  bytes.fill(0, at + 24, at + 28);
  bytes.fill(0, at + 40, at + 48);
}

/** Sets the EPCM entry and links frame and enclave. */
export function eaddCommit(
  s: MonitorState,
  enclave: EnclaveRecord,
  frame: number,
  linaddr: number,
  secinfo: Uint8Array,
): void {
  s.epcm.fill(frame, secinfoFlags(secinfo) & FLAGS_KEPT, enclave.secsFrame, linaddr);
  enclave.pages.set((linaddr - enclave.base) / PAGE, frame);
  if (secinfo[1] === PT_TCS) bindTcs(s, enclave, frame);
}
