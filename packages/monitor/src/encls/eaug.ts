/** ENCLS[EAUG]. Source: Intel SDM Vol. 3D, "EAUG—Add a Page to an Initialized Enclave", Operation. */
import { PT_REG, PT_SECS, SECINFO } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { available } from '../state/available.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_PENDING, EPCM_PT_SHIFT, EPCM_R, EPCM_W, NO_FRAME } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';

/** EAUG's checks, in the manual's order. */
export const EAUG_CHECKS = checkList('EAUG', [
  ['pageinfo-aligned', '#GP(0)', 'PAGEINFO (RBX) is 32-byte aligned'],
  ['page-aligned', '#GP(0)', 'the destination (RCX) is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['pageinfo-readable', '#PF', 'PAGEINFO can be read'],
  ['secinfo-aligned', '#GP(0)', 'PAGEINFO.SECINFO is 0 or 64-byte aligned'],
  ['secs-linaddr-aligned', '#GP(0)', 'PAGEINFO.SECS and LINADDR are 4096-byte aligned'],
  ['source-zero', '#GP(0)', 'PAGEINFO.SRCPGE is 0'],
  ['secs-in-epc', '#PF', 'PAGEINFO.SECS resolves within the EPC'],
  ['secs-owned', 'REFUSED', 'the SECS belongs to the caller', 'deviation'],
  ['epc-page-free', '#PF', 'EPCM(RCX).VALID = 0'],
  ['secinfo-readable', '#PF', 'SECINFO, where there is one, can be read'],
  ['secinfo-valid', '#GP(0)', 'there is no SECINFO: it names shadow-stack pages, and CET is not offered'],
  ['secs-valid', '#PF', 'EPCM(SECS) is valid and PT_SECS'],
  ['initialized', '#GP(0)', 'the enclave is initialized'],
  ['linaddr-in-elrange', '#GP(0)', 'LINADDR lies in the ELRANGE'],
  ['linaddr-free', '#GP(0)', 'no other frame holds this linear address (one backing page each)', 'deviation'],
  ['memory-available', 'REFUSED', 'the machine has memory to back the page', 'deviation'],
] as const);

const PAGE = 4096;
/** What EAUG gives a page: readable, writable, regular, to be accepted by the enclave. */
const AUGMENTED = EPCM_R | EPCM_W | EPCM_PENDING | (PT_REG << EPCM_PT_SHIFT);

/** RBX = PAGEINFO, RCX = destination EPC page. The page is zero, and out of reach until EACCEPT or EACCEPTCOPY. */
export function eaug(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EAUG_CHECKS;
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
  if (secinfoAt % 64 !== 0) return trip(C, 'secinfo-aligned');
  if (secsAt % PAGE !== 0 || linaddr % PAGE !== 0) return trip(C, 'secs-linaddr-aligned');
  if (srcpge !== 0) return trip(C, 'source-zero');
  const secsFrame = s.frames.resolve(owner, secsAt);
  if (secsFrame === NOT_EPC) return trip(C, 'secs-in-epc', secsAt, PF_ACCESS);
  if (secsFrame === FOREIGN) return trip(C, 'secs-owned');
  if (s.epcm.valid(frame)) return trip(C, 'epc-page-free', rcx);
  if (secinfoAt !== 0) {
    const secinfo = readGuest(s, secinfoAt, SECINFO.size);
    return secinfo === null ? trip(C, 'secinfo-readable', secinfoAt, PF_ACCESS) : trip(C, 'secinfo-valid');
  }
  const refused = eaugCheckEnclave(s, secsFrame, secsAt, linaddr);
  if (refused !== null) return refused;
  const enclave = s.enclaves.get(secsFrame)!;
  const offset = linaddr - enclave.base;
  if (!available(() => enclave.memory.reserve(offset, PAGE), s.failures)) return trip(C, 'memory-available');
  eaugCommit(s, enclave, frame, linaddr, 1);
  return DONE;
}

/** EAUG's checks of the SECS, the enclave's state and the linear address. */
export function eaugCheckEnclave(
  s: MonitorState,
  secsFrame: number,
  secsAt: number,
  linaddr: number,
): LeafOutcome | null {
  const C = EAUG_CHECKS;
  if (!s.epcm.valid(secsFrame) || s.epcm.type(secsFrame) !== PT_SECS) return trip(C, 'secs-valid', secsAt);
  const enclave = s.enclaves.get(secsFrame)!;
  if (!enclave.initialized) return trip(C, 'initialized');
  if (!(linaddr >= enclave.base && linaddr < enclave.base + enclave.size))
    return trip(C, 'linaddr-in-elrange');
  if (enclave.pages.get((linaddr - enclave.base) / PAGE) !== NO_FRAME) return trip(C, 'linaddr-free');
  return null;
}

/** Sets the EPCM entries of frames that follow one another and links them and the enclave; the memory is reserved. */
export function eaugCommit(
  s: MonitorState,
  enclave: EnclaveRecord,
  frame: number,
  linaddr: number,
  count: number,
): void {
  s.epcm.fillRun(frame, count, AUGMENTED, enclave.secsFrame, linaddr);
  enclave.pages.setRun((linaddr - enclave.base) / PAGE, frame, count);
  enclave.paging.augmented += count;
}
