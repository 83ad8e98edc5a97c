/** Pages on their way out of or into the EPC, in columns that are used again and again; monitors do one thing at a time. */
import { PAGE_LIST_MAX } from '@nestedsgx/arch';
import { GUEST_VMPL, isGuestFault, type MonitorState } from '../state/state.js';

/** Bytes of a page. */
export const PAGE = 4096;
/** Pages read, encrypted and written together: they stay in the second-level cache. */
export const RUN_PAGES = 32;

/** One row for each page of a list. */
export class PageBatch {
  readonly frame = new Int32Array(PAGE_LIST_MAX);
  /** Frame of the version array, and the slot in it. */
  readonly va = new Int32Array(PAGE_LIST_MAX);
  readonly slot = new Uint16Array(PAGE_LIST_MAX);
  /** gPA of contents and PCMD in guest memory. */
  readonly contents = new Float64Array(PAGE_LIST_MAX);
  readonly pcmd = new Float64Array(PAGE_LIST_MAX);
  readonly linaddr = new Float64Array(PAGE_LIST_MAX);
  readonly version = new Float64Array(PAGE_LIST_MAX);
}

/** The batch that the leaves and calls use. */
export const batch = new PageBatch();

/** Writes `size` bytes for each row from `first` on, adjacent ones at once. The caller checked that VMPL1 may. */
export function writeRows(
  s: MonitorState,
  at: Float64Array,
  first: number,
  count: number,
  bytes: Uint8Array,
  size: number,
): void {
  for (let from = 0; from < count; ) {
    let to = from + 1;
    while (to < count && at[first + to] === at[first + to - 1] + size) to++;
    s.machine.guest.copyOut(GUEST_VMPL, at[first + from], bytes.subarray(from * size, to * size));
    from = to;
  }
}

/** Copies `size` bytes for each row from `first` on into `into`; returns how many rows VMPL1 may read. */
export function readRows(
  s: MonitorState,
  at: Float64Array,
  first: number,
  count: number,
  into: Uint8Array,
  size: number,
): number {
  for (let from = 0; from < count; ) {
    let to = from + 1;
    while (to < count && at[first + to] === at[first + to - 1] + size) to++;
    if (copied(s, at[first + from], into.subarray(from * size, to * size))) {
      from = to;
      continue;
    }
    if (to === from + 1) return from;
    for (; from < to; from++)
      if (!copied(s, at[first + from], into.subarray(from * size, (from + 1) * size))) return from;
  }
  return count;
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
