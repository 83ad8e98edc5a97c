/** What the calls on lists of pages have in common: the SECS they name, and the list, copied once. */
import { PAGE_LIST_MAX, PT_SECS } from '@nestedsgx/arch';
import { type CheckList, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { type FrameOwner, GUEST_VMPL, isGuestFault, type MonitorState } from '../state/state.js';

/** Rows that the check list of every such call begins with. */
export const LIST_ROWS = [
  ['secs', 'REFUSED', 'RCX is a SECS of the caller'],
  ['count', 'REFUSED', 'R8 is 1 … 512'],
  ['list-readable', '#PF', 'the list (RDX) is 8-byte aligned and can be read'],
] as const;

type ListCheck = (typeof LIST_ROWS)[number][0];

/** Operands of such a call. */
export interface ListOperands {
  readonly secs: number;
  readonly list: number;
  readonly count: number;
}

const list = new Uint8Array(PAGE_LIST_MAX * 40);

/** The copied list: `count` entries of a call on pages of `enclave`. Valid until the next call. */
export interface PageList {
  readonly enclave: EnclaveRecord;
  readonly bytes: Uint8Array;
}

/** Checks the operands and copies the list. */
export function openList(
  checks: CheckList<ListCheck>,
  s: MonitorState,
  owner: FrameOwner,
  operands: ListOperands,
  entrySize: number,
): PageList | LeafOutcome {
  const { secs, list: gpa, count } = operands;
  const frame = secs % 4096 === 0 ? s.frames.resolve(owner, secs) : -1;
  if (frame < 0 || !s.epcm.valid(frame) || s.epcm.type(frame) !== PT_SECS) return trip(checks, 'secs');
  if (!(count >= 1 && count <= PAGE_LIST_MAX) || !Number.isInteger(count)) return trip(checks, 'count');
  const bytes = list.subarray(0, count * entrySize);
  if (gpa % 8 !== 0 || !copied(s, gpa, bytes)) return trip(checks, 'list-readable', gpa, PF_ACCESS);
  return { enclave: s.enclaves.get(frame)!, bytes };
}

/** True for what {@link openList} refused. */
export function isRefusal(opened: PageList | LeafOutcome): opened is LeafOutcome {
  return 'kind' in opened;
}

function copied(s: MonitorState, gpa: number, into: Uint8Array): boolean {
  if (!Number.isSafeInteger(gpa)) return false;
  try {
    s.machine.guest.copyInto(GUEST_VMPL, gpa, into);
    return true;
  } catch (error) {
    if (isGuestFault(error)) return false;
    throw error;
  }
}
