/** ENCLS[EWB]. Source: Intel SDM Vol. 3D, "EWB—Invalidate an EPC Page and Write out to Main Memory", Operation. */
import { PT_SECS, PT_VA, writeU64 } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { evictOwnerless, evictRun } from '../paging/evict.js';
import { checkChains, evictEnclave, versionArrayEvicted } from '../paging/evicted-enclaves.js';
import { isChildType, SECS_EID } from '../paging/load-run.js';
import { batch, PAGE, type PageBatch } from '../paging/page-batch.js';
import { PCMD_SIZE } from '../paging/pcmd.js';
import { EPCM_BLOCKED } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import {
  allZero,
  type FrameOwner,
  guestWritable,
  type MonitorState,
  readGuest,
  u64ToNumber,
  writeGuest,
} from '../state/state.js';
import { admissionFollows } from '../state/threads.js';
import { stampTracked } from '../state/tracking.js';

/** EWB's checks, in the manual's order; outputs are checked before anything is written. */
export const EWB_CHECKS = checkList('EWB', [
  ['pageinfo-page-aligned', '#GP(0)', 'PAGEINFO (RBX) is 32-byte, the page (RCX) 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['slot-aligned', '#GP(0)', 'the version slot (RDX) is 8-byte aligned'],
  ['slot-in-epc', '#PF', 'RDX resolves within the EPC'],
  ['slot-owned', 'REFUSED', 'the version array belongs to the caller', 'deviation'],
  ['slot-elsewhere', '#GP(0)', 'page and slot are not in the same EPC page'],
  ['pageinfo-readable', '#PF', 'PAGEINFO can be read'],
  ['linaddr-secs-zero', '#GP(0)', 'PAGEINFO.LINADDR and PAGEINFO.SECS are 0'],
  ['outputs-aligned', '#GP(0)', 'PCMD is 128-byte, SRCPGE 4096-byte aligned'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['slot-valid', '#PF', 'EPCM(RDX) is valid and PT_VA'],
  ['page-blocked', 'SGX_PAGE_NOT_BLOCKED', 'PT_REG, PT_TCS, PT_TRIM: EPCM(RCX).BLOCKED = 1'],
  ['page-tracked', 'SGX_NOT_TRACKED', 'an ETRACK followed the EBLOCK, and all threads of before it left'],
  ['no-children', 'SGX_CHILD_PRESENT', 'PT_SECS: no EPC page is associated with the SECS'],
  ['contents-writable', '#PF', 'SRCPGE can be written'],
  ['pcmd-writable', '#PF', 'PCMD can be written'],
  ['pageinfo-writable', '#PF', 'PAGEINFO can be written'],
  [
    'slot-empty',
    'SGX_VA_SLOT_OCCUPIED',
    'the slot held no version; the page is written out all the same',
    'carry',
  ],
] as const);

/** RBX = PAGEINFO, RCX = EPC page, RDX = version slot. Throws MONITOR_LIMIT, see {@link checkChains}. */
export function ewb(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number, rdx: number): LeafOutcome {
  const C = EWB_CHECKS;
  if (rbx % 32 !== 0 || rcx % PAGE !== 0) return trip(C, 'pageinfo-page-aligned');
  const refused = ewbCheckOperands(s, owner, rcx, rdx);
  if (refused !== null) return refused;
  const pageinfo = readGuest(s, rbx, 32);
  if (pageinfo === null) return trip(C, 'pageinfo-readable', rbx, PF_ACCESS);
  if (!allZero(pageinfo, 0, 8) || !allZero(pageinfo, 24, 32)) return trip(C, 'linaddr-secs-zero');
  const frame = s.frames.resolve(owner, rcx);
  batch.frame[0] = frame;
  batch.va[0] = s.frames.resolve(owner, rdx);
  batch.slot[0] = (rdx % PAGE) / 8;
  batch.contents[0] = u64ToNumber(pageinfo, 8);
  batch.pcmd[0] = u64ToNumber(pageinfo, 16);
  const before = ewbCheckRow(s, batch, 0, rcx, rdx);
  if (before !== null) {
    const enclave = s.enclaves.get(s.epcm.secs(frame)) ?? s.enclaves.get(frame);
    if (enclave !== undefined && before.kind === 'error') enclave.paging.refused++;
    return before;
  }
  if (!guestWritable(s, rbx, 8)) return trip(C, 'pageinfo-writable', rbx, PF_ACCESS);
  const linaddr = s.epcm.address(frame);
  const enclave = s.enclaves.get(s.epcm.secs(frame));
  const occupied = writeOut(s, frame);
  if (enclave !== undefined) admissionFollows(s, enclave, linaddr - enclave.base);
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, BigInt(linaddr));
  writeGuest(s, rbx, bytes);
  return occupied ? trip(C, 'slot-empty') : DONE;
}

/** Evicts row 0 of the batch by its type. */
function writeOut(s: MonitorState, frame: number): boolean {
  const type = s.epcm.type(frame);
  if (isChildType(type)) return evictRun(s, s.enclaves.get(s.epcm.secs(frame))!, batch, 0, 1);
  if (type === PT_SECS) {
    const enclave = s.enclaves.get(frame)!;
    const page = enclave.secs.slice();
    writeU64(page, SECS_EID, BigInt(enclave.id));
    const occupied = evictOwnerless(s, batch, 0, enclave.id, page);
    evictEnclave(s, enclave, batch.version[0]);
    return occupied;
  }
  checkChains(s, frame);
  const occupied = evictOwnerless(s, batch, 0, 0, s.versions.page(frame));
  versionArrayEvicted(s, frame, batch.version[0]);
  return occupied;
}

/** EWB's checks of RCX and RDX themselves. */
export function ewbCheckOperands(
  s: MonitorState,
  owner: FrameOwner,
  rcx: number,
  rdx: number,
): LeafOutcome | null {
  const C = EWB_CHECKS;
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (rdx % 8 !== 0) return trip(C, 'slot-aligned');
  const va = s.frames.resolve(owner, rdx);
  if (va === NOT_EPC) return trip(C, 'slot-in-epc', rdx, PF_ACCESS);
  if (va === FOREIGN) return trip(C, 'slot-owned');
  if (va === frame) return trip(C, 'slot-elsewhere');
  return null;
}

let trackedEnclave = -1;
let trackedStamp = -1;

/** Forgets what {@link ewbCheckRow} found out about tracking; threads may have moved. */
export function forgetTracking(): void {
  trackedEnclave = -1;
}

/** EWB's checks of a row: its outputs' places, EPCM, tracking. Allocates nothing when all hold. */
export function ewbCheckRow(
  s: MonitorState,
  rows: PageBatch,
  row: number,
  rcx: number,
  rdx: number,
  listed = false,
): LeafOutcome | null {
  const C = EWB_CHECKS;
  const frame = rows.frame[row];
  const contents = rows.contents[row];
  const pcmd = rows.pcmd[row];
  if (pcmd % 128 !== 0 || contents % PAGE !== 0) return trip(C, 'outputs-aligned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', rcx);
  const va = rows.va[row];
  if (!s.epcm.valid(va) || s.epcm.type(va) !== PT_VA) return trip(C, 'slot-valid', rdx);
  const type = s.epcm.type(frame);
  if (isChildType(type)) {
    const enclave = s.enclaves.get(s.epcm.secs(frame))!;
    const blocked = (s.epcm.bits(frame) & EPCM_BLOCKED) !== 0;
    const stamp = s.epcm.stamp(frame);
    // Pages of one list were mostly blocked together; threads are looked at once for each stamp.
    const known = listed && trackedEnclave === enclave.id && trackedStamp === stamp;
    if (!blocked) return trip(C, 'page-blocked');
    if (!known && !stampTracked(enclave, stamp)) return trip(C, 'page-tracked');
    trackedEnclave = enclave.id;
    trackedStamp = stamp;
  } else if (type === PT_SECS && s.enclaves.get(frame)!.children !== 0) {
    return trip(C, 'no-children');
  }
  if (!guestWritable(s, contents, PAGE)) return trip(C, 'contents-writable', contents, PF_ACCESS);
  if (!guestWritable(s, pcmd, PCMD_SIZE)) return trip(C, 'pcmd-writable', pcmd, PF_ACCESS);
  return null;
}
