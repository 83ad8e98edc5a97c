/** The lists of PVALIDATE, DEPOSIT_MEM and WITHDRAW_MEM: {u16 entries, u16 next, u32 reserved}, u64 entries. */
import { SVSM, SVSM_LIST_HEADER } from '@nestedsgx/arch';
import type { CallAnswer } from '../ports.js';
import { readGuest, u64ToNumber, writeGuest } from '../state/state.js';
import { type CallContext, failure, success } from './context.js';

const PAGE = 4096;
const HEADER = SVSM_LIST_HEADER.size;

/** One entry: bits 1:0 page size, bit 2 action, bit 3 ignore CF, bits 11:4 zero, bits 63:12 page number. */
export interface ListEntry {
  readonly gpa: number;
  readonly size: 0 | 1;
  readonly action: boolean;
  readonly ignoreCarry: boolean;
}

/**
 * Walks the list at RCX: `serve` gives 0 or the SVSM result that ends the walk. The whole list is copied once;
 * only `next` is written back, and always, so that the guest sees how far the call came.
 */
export function walkPageList(c: CallContext, serve: (entry: ListEntry) => number): CallAnswer {
  const { s, call } = c;
  const gpa = call.rcx;
  if (!Number.isSafeInteger(gpa) || gpa % 8 !== 0) return failure(SVSM.INVALID_PARAMETER);
  const room = PAGE - (gpa % PAGE);
  if (room < HEADER + 8) return failure(SVSM.INVALID_PARAMETER);
  const list = readGuest(s, gpa, room);
  if (list === null) return failure(SVSM.INVALID_ADDRESS);
  const { ENTRIES: entries, NEXT: first } = SVSM_LIST_HEADER.decode(list);
  const most = Math.floor((room - HEADER) / 8);
  if (entries === 0 || entries > most || first >= entries) return failure(SVSM.INVALID_PARAMETER);
  let next = first;
  let result: number = SVSM.SUCCESS;
  for (; next < entries; next++) {
    const entry = decodeEntry(list, HEADER + next * 8);
    result = entry === null ? SVSM.INVALID_PARAMETER : serve(entry);
    if (result !== SVSM.SUCCESS) break;
  }
  const progress = new Uint8Array([next & 0xff, next >>> 8]);
  // The call may have taken away the very page the list lies in; then there is nobody to tell.
  writeGuest(s, gpa + SVSM_LIST_HEADER.offsets.NEXT, progress);
  return result === SVSM.SUCCESS ? success() : failure(result);
}

function decodeEntry(list: Uint8Array, at: number): ListEntry | null {
  const value = u64ToNumber(list, at);
  if (!Number.isSafeInteger(value)) return null;
  const low = value % PAGE;
  const size = low & 3;
  if (size > 1 || (low & 0xff0) !== 0) return null;
  const gpa = value - low;
  if (size === 1 && gpa % 0x20_0000 !== 0) return null;
  return { gpa, size: size as 0 | 1, action: (low & 4) !== 0, ignoreCarry: (low & 8) !== 0 };
}
