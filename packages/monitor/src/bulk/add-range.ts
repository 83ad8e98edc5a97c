/**
 * ADD_RANGE: EADD, and with measuring sixteen EEXTENDs, of every page of a contiguous range, in one call. Each
 * page passes the very checks of the single leaves; hashing and copying are done for runs of pages.
 */
import { ADD_RANGE, ADD_RANGE_MAX_LENGTH, PT_TCS, SECINFO } from '@nestedsgx/arch';
import {
  EADD_CHECKS,
  eaddCheckEpcm,
  eaddCheckPage,
  eaddCommit,
  prepareTcs,
  secinfoAddable,
} from '../encls/eadd.js';
import { eextendCheckPage } from '../encls/eextend.js';
import { invariant } from '../errors.js';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { available } from '../state/available.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import {
  type FrameOwner,
  GUEST_VMPL,
  isGuestFault,
  type MonitorState,
  readGuest,
  u64ToNumber,
} from '../state/state.js';
import { threadCount } from '../state/threads.js';

/** Checks of the call itself; those of the leaves follow page by page. */
export const ADD_RANGE_CHECKS = checkList('ADD_RANGE', [
  ['operand-readable', '#PF', 'the operand (RCX) is 8-byte aligned and can be read'],
  ['length', 'REFUSED', 'LENGTH is 4096 … 16 MiB in whole pages'],
  ['flags', 'REFUSED', 'FLAGS has no bit but MEASURE'],
  ['source-end', 'REFUSED', 'SRC and LINADDR plus LENGTH are addresses'],
] as const);

const PAGE = 4096;
/** Bytes handled at once: small enough to stay in the second-level cache between copy, hash and write. */
const RUN = 256 * 1024;
const A = ADD_RANGE.offsets;

/** What an ADD_RANGE did: the outcome of the page that stopped it (or DONE), and the bytes added before. */
export interface BulkOutcome {
  readonly outcome: LeafOutcome;
  readonly done: number;
  /** Nothing stopped it, but others are to have their turn: the guest calls again for the rest. */
  readonly incomplete?: boolean;
}

let scratch: Uint8Array | null = null;

/** RCX = gPA of an ADD_RANGE structure. */
export function addRange(s: MonitorState, owner: FrameOwner, operand: number): BulkOutcome {
  const C = ADD_RANGE_CHECKS;
  const stop = (outcome: LeafOutcome, done = 0): BulkOutcome => ({ outcome, done });
  const args = operand % 8 === 0 ? readGuest(s, operand, ADD_RANGE.size) : null;
  if (args === null) return stop(trip(C, 'operand-readable', operand, PF_ACCESS));
  const secsAt = u64ToNumber(args, A.SECS);
  const linaddr = u64ToNumber(args, A.LINADDR);
  const source = u64ToNumber(args, A.SRC);
  const length = u64ToNumber(args, A.LENGTH);
  const secinfoAt = u64ToNumber(args, A.SECINFO);
  const epc = u64ToNumber(args, A.EPC);
  const flags = u64ToNumber(args, A.FLAGS);
  if (!(length >= PAGE && length <= ADD_RANGE_MAX_LENGTH) || length % PAGE !== 0)
    return stop(trip(C, 'length'));
  if (flags !== 0 && flags !== 1) return stop(trip(C, 'flags'));
  if (!Number.isSafeInteger(source + length) || !Number.isSafeInteger(linaddr + length))
    return stop(trip(C, 'source-end'));
  const E = EADD_CHECKS;
  if (epc % PAGE !== 0) return stop(trip(E, 'page-aligned'));
  if (source % PAGE !== 0 || secsAt % PAGE !== 0 || secinfoAt % 64 !== 0 || linaddr % PAGE !== 0)
    return stop(trip(E, 'sources-aligned'));
  const secsFrame = s.frames.resolve(owner, secsAt);
  if (secsFrame === NOT_EPC) return stop(trip(E, 'secs-in-epc', secsAt, PF_ACCESS));
  if (secsFrame === FOREIGN) return stop(trip(E, 'secs-owned'));
  const secinfo = readGuest(s, secinfoAt, SECINFO.size);
  if (secinfo === null) return stop(trip(E, 'secinfo-readable', secinfoAt, PF_ACCESS));
  if (!secinfoAddable(secinfo)) return stop(trip(E, 'secinfo-valid'));

  for (let done = 0; done < length; ) {
    const bytes = Math.min(RUN, length - done);
    const run = addRun(
      s,
      owner,
      { secsFrame, secsAt, secinfo, measure: flags === 1 },
      linaddr + done,
      source + done,
      epc + done,
      bytes,
    );
    done += run.done;
    if (run.outcome !== DONE) return { outcome: run.outcome, done };
  }
  return { outcome: DONE, done: length };
}

interface RangeOperands {
  readonly secsFrame: number;
  readonly secsAt: number;
  readonly secinfo: Uint8Array;
  readonly measure: boolean;
}

/** One run: how far the checks hold is found first, then that many pages are written, measured and entered. */
function addRun(
  s: MonitorState,
  owner: FrameOwner,
  range: RangeOperands,
  linaddr: number,
  source: number,
  epc: number,
  length: number,
): BulkOutcome {
  const { secsFrame, secsAt, measure } = range;
  scratch ??= new Uint8Array(RUN);
  const bytes = scratch.subarray(0, length);
  let outcome: LeafOutcome = DONE;
  let readable = length;
  try {
    s.machine.guest.copyInto(GUEST_VMPL, source, bytes);
  } catch (error) {
    if (!isGuestFault(error)) throw error;
    readable = readablePages(s, source, bytes);
  }
  let enclave: EnclaveRecord | undefined;
  let checked = 0;
  for (; checked < length; checked += PAGE) {
    const frame = s.frames.resolve(owner, epc + checked);
    if (frame < 0) {
      const id = frame === FOREIGN ? 'page-owned' : 'page-in-epc';
      outcome = trip(EADD_CHECKS, id, epc + checked, PF_ACCESS);
      break;
    }
    const before = eaddCheckEpcm(s, frame, epc + checked, secsFrame, secsAt);
    if (before !== null) {
      outcome = before;
      break;
    }
    enclave ??= s.enclaves.get(secsFrame)!;
    if (checked >= readable) {
      outcome = trip(EADD_CHECKS, 'source-readable', source + checked, PF_ACCESS);
      break;
    }
    const refused = eaddCheckPage(s, enclave, linaddr + checked, range.secinfo, bytes, checked);
    if (refused !== null) {
      outcome = refused;
      break;
    }
  }
  if (checked === 0) return { outcome, done: 0 };
  invariant(enclave !== undefined, 'pages were checked without an enclave');
  const secinfo = range.secinfo[1] === PT_TCS ? range.secinfo.slice() : range.secinfo;
  const pages = bytes.subarray(0, checked);
  const added = range.secinfo[1] === PT_TCS ? threadRoom(s, enclave, checked) : checked;
  if (secinfo[1] === PT_TCS) for (let at = 0; at < added; at += PAGE) prepareTcs(secinfo, pages, at);
  const offset = linaddr - enclave.base;
  const kept = pages.subarray(0, added);
  const target = enclave;
  if (!available(() => target.memory.write(offset, kept), s.failures))
    return { outcome: trip(EADD_CHECKS, 'memory-available'), done: 0 };
  for (let at = 0; at < added; at += PAGE) {
    const frame = s.frames.resolve(owner, epc + at);
    eaddCommit(s, enclave, frame, linaddr + at, secinfo);
    if (measure)
      invariant(
        eextendCheckPage(s, frame, epc + at, secsFrame) === null,
        'a page just added cannot be measured',
      );
  }
  enclave.measurement.addPages(BigInt(offset), secinfo, kept, measure);
  if (added < checked) return { outcome: trip(EADD_CHECKS, 'thread-limit'), done: added };
  return { outcome, done: added };
}

/** Bytes of TCS pages that may still be added, at most `wanted`. */
function threadRoom(s: MonitorState, enclave: EnclaveRecord, wanted: number): number {
  return Math.min(wanted, (s.platform.maxThreads - threadCount(enclave)) * PAGE);
}

/** Copies page by page up to the first that cannot be read; returns the bytes copied. */
function readablePages(s: MonitorState, source: number, bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; at += PAGE) {
    const page = readGuest(s, source + at, PAGE);
    if (page === null) return at;
    bytes.set(page, at);
  }
  return bytes.length;
}
