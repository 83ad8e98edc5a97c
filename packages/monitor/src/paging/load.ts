/** ELDB, ELDU, ELDBC and ELDUC: one operation, four numbers. Source: Intel SDM Vol. 3D, "ELDB/ELDU/ELDBC/ELDUC", Operation. */
import { PT_SECS, PT_VA } from '@nestedsgx/arch';
import { type CheckList, checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';
import { refreshAdmission } from '../state/threads.js';
import {
  isChildType,
  type LoadRefusal,
  loadRun,
  loadSecs,
  loadVersionArray,
  pcmdType,
  readPcmds,
} from './load-run.js';
import { batch, PAGE, type PageBatch } from './page-batch.js';

const ROWS = [
  ['pageinfo-page-aligned', '#GP(0)', 'PAGEINFO (RBX) is 32-byte, the page (RCX) 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['slot-aligned', '#GP(0)', 'the version slot (RDX) is 8-byte aligned'],
  ['slot-in-epc', '#PF', 'RDX resolves within the EPC'],
  ['slot-owned', 'REFUSED', 'the version array belongs to the caller', 'deviation'],
  ['pageinfo-readable', '#PF', 'PAGEINFO can be read'],
  ['sources-aligned', '#GP(0)', 'PCMD is 128-byte, SRCPGE 4096-byte aligned'],
  ['page-free', '#PF', 'EPCM(RCX).VALID = 0'],
  ['slot-valid', '#PF', 'EPCM(RDX) is valid and PT_VA'],
  ['pcmd-readable', '#PF', 'PCMD can be read'],
  ['secs-aligned', '#GP(0)', 'PT_REG, PT_TCS, PT_TRIM: SECS is 4096-byte aligned'],
  ['secs-in-epc', '#PF', 'and resolves within the EPC'],
  ['secs-owned', 'REFUSED', 'and belongs to the caller', 'deviation'],
  ['secs-valid', '#PF', 'and is valid and PT_SECS'],
  ['source-readable', '#PF', 'the source page can be read'],
  [
    'mac',
    'SGX_MAC_COMPARE_FAIL',
    'page, PCMD, LINADDR and enclave are those written out under the slot’s version',
  ],
  ['linaddr-free', '#GP(0)', 'no other frame holds this linear address (one backing page each)', 'deviation'],
  ['memory-available', 'REFUSED', 'the machine has memory to back the page', 'deviation'],
] as const;

/** Ids of the checks. */
export type EldCheck = (typeof ROWS)[number][0];

/** The check list of one of the four leaves. */
export function eldChecks(leaf: string): CheckList<EldCheck> {
  return checkList(leaf, ROWS);
}

/** RBX = PAGEINFO, RCX = EPC page, RDX = version slot; `blocked` as ELDB leaves child pages. */
export function eld(
  C: CheckList<EldCheck>,
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
  blocked: boolean,
): LeafOutcome {
  if (rbx % 32 !== 0) return trip(C, 'pageinfo-page-aligned');
  const refused = eldCheckOperands(C, s, owner, rcx, rdx);
  if (refused !== null) return refused;
  const pageinfo = readGuest(s, rbx, 32);
  if (pageinfo === null) return trip(C, 'pageinfo-readable', rbx, PF_ACCESS);
  batch.frame[0] = s.frames.resolve(owner, rcx);
  batch.va[0] = s.frames.resolve(owner, rdx);
  batch.slot[0] = (rdx % PAGE) / 8;
  batch.linaddr[0] = u64ToNumber(pageinfo, 0);
  batch.contents[0] = u64ToNumber(pageinfo, 8);
  batch.pcmd[0] = u64ToNumber(pageinfo, 16);
  const before = eldCheckRow(C, s, batch, 0, rcx, rdx);
  if (before !== null) return before;
  if (readPcmds(s, batch, 0, 1) === 0) return trip(C, 'pcmd-readable', batch.pcmd[0], PF_ACCESS);
  const type = pcmdType(0);
  let refusal: LoadRefusal | null = 'mac';
  if (isChildType(type)) {
    const secsAt = u64ToNumber(pageinfo, 24);
    if (secsAt % PAGE !== 0) return trip(C, 'secs-aligned');
    const secsFrame = s.frames.resolve(owner, secsAt);
    if (secsFrame === NOT_EPC) return trip(C, 'secs-in-epc', secsAt, PF_ACCESS);
    if (secsFrame === FOREIGN) return trip(C, 'secs-owned');
    if (!s.epcm.valid(secsFrame) || s.epcm.type(secsFrame) !== PT_SECS) return trip(C, 'secs-valid', secsAt);
    const enclave = s.enclaves.get(secsFrame)!;
    const loaded = loadRun(s, enclave, batch, 0, 1, blocked);
    refusal = loaded.refusal;
    if (loaded.admission) refreshAdmission(s, enclave);
  } else if (type === PT_SECS) {
    refusal = loadSecs(s, batch, 0);
  } else if (type === PT_VA) {
    refusal = loadVersionArray(s, batch, 0);
  } else if (readGuest(s, batch.contents[0], PAGE) === null) {
    // No page has another type, but the source is copied before the MAC is compared.
    refusal = 'source-readable';
  }
  return refusal === null ? DONE : tripLoad(C, refusal, batch, 0, rcx);
}

/** The outcome of what the loading found. */
export function tripLoad(
  C: CheckList<EldCheck>,
  refusal: LoadRefusal,
  rows: PageBatch,
  row: number,
  rcx: number,
): LeafOutcome {
  if (refusal === 'pcmd-readable') return trip(C, refusal, rows.pcmd[row], PF_ACCESS);
  if (refusal === 'source-readable') return trip(C, refusal, rows.contents[row], PF_ACCESS);
  return trip(C, refusal, rcx);
}

/** ELD's checks of RCX and RDX themselves. */
export function eldCheckOperands(
  C: CheckList<EldCheck>,
  s: MonitorState,
  owner: FrameOwner,
  rcx: number,
  rdx: number,
): LeafOutcome | null {
  if (rcx % PAGE !== 0) return trip(C, 'pageinfo-page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (rdx % 8 !== 0) return trip(C, 'slot-aligned');
  const va = s.frames.resolve(owner, rdx);
  if (va === NOT_EPC) return trip(C, 'slot-in-epc', rdx, PF_ACCESS);
  if (va === FOREIGN) return trip(C, 'slot-owned');
  return null;
}

/** ELD's checks of a row: its sources' places, and the EPCM. */
export function eldCheckRow(
  C: CheckList<EldCheck>,
  s: MonitorState,
  rows: PageBatch,
  row: number,
  rcx: number,
  rdx: number,
): LeafOutcome | null {
  if (rows.pcmd[row] % 128 !== 0 || rows.contents[row] % PAGE !== 0) return trip(C, 'sources-aligned');
  if (s.epcm.valid(rows.frame[row])) return trip(C, 'page-free', rcx);
  const va = rows.va[row];
  if (!s.epcm.valid(va) || s.epcm.type(va) !== PT_VA) return trip(C, 'slot-valid', rdx);
  return null;
}
