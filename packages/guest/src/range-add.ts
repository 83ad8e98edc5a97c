/** Adding many pages at once: ADD_RANGE calls over two staging buffers, one filled while the monitor reads the other. */
import type { SgxEnclaveFile } from './enclave-file.js';
import type { FrameRun } from './epc-frames.js';
import { type ErrnoName, SgxIoctlError } from './errors.js';
import type { GuestBlock } from './memory.js';
import { leafOutcome, SGX_CALL, SGX_PROTOCOL } from './svsm.js';
import { SVSM_RESULT } from './vcpu.js';

const PAGE = 4096;
/** Longest range of one call; the protocol's limit is 16 MiB. */
const MAX_CALL = 2 * 2 ** 20;
const DESCRIPTOR = 64;
const DESCRIPTORS = 256;
const SECINFO_AT = 512;

/** Where pages come from: bytes of the process (copied into staging), or a block of guest RAM. */
export type RangeSource = { bytes: Uint8Array } | { block: GuestBlock };

/** A range of pages with the same SECINFO. */
export interface RangeRequest {
  source: RangeSource;
  offset: number;
  length: number;
  secinfoFlags: number;
  measure: boolean;
}

interface Piece {
  offset: number;
  count: number;
  gpa: number;
  src: number;
}

/**
 * Adds the pages in order. Returns the bytes added.
 * @throws SgxIoctlError with `count`: EBUSY, ENOMEM, EIO
 */
export function addRange(file: SgxEnclaveFile, request: RangeRequest): number {
  const { connection, staging, supply } = file.device;
  const { operands } = staging;
  operands.bytes.fill(0, SECINFO_AT, SECINFO_AT + 64);
  new DataView(operands.bytes.buffer, operands.bytes.byteOffset + SECINFO_AT, 8).setUint32(
    0,
    request.secinfoFlags,
    true,
  );
  let staged = 0;
  let confirmed = 0;
  let parity = 0;
  for (let current: Piece | null = stage(false); ; ) {
    // Reclaiming needs the vCPU: what could not be staged beside a call is staged now.
    current ??= staged < request.length ? stage(false) : null;
    if (current === null) return confirmed;
    submit(current, 0);
    let next: Piece | null = null;
    let trouble: unknown = null;
    try {
      next = staged < request.length ? stage(true) : null;
    } catch (error) {
      trouble = error;
    }
    try {
      complete(current);
    } catch (error) {
      if (next !== null) supply.give(next.gpa, next.count);
      throw error;
    }
    if (trouble !== null) {
      if (trouble instanceof SgxIoctlError) trouble.count = confirmed;
      throw trouble;
    }
    current = next;
  }

  /**
   * Takes frames for the next piece and puts its pages where the monitor can read them. Null when `busy` (a call is under
   * way) and no frame is free.
   */
  function stage(busy: boolean): Piece | null {
    const at = request.offset + staged;
    const wanted = Math.min(request.length - staged, MAX_CALL) / PAGE;
    const free = file.pages.absent(at, wanted);
    if (free === 0) throw failure('EBUSY', `a page is already present at offset 0x${at.toString(16)}`);
    let run: FrameRun | null;
    try {
      run = busy ? supply.take(free, true) : supply.take(free);
    } catch (cause) {
      throw failure('ENOMEM', `no EPC page is free for offset 0x${at.toString(16)}`, cause);
    }
    if (run === null) return null;
    const length = run.count * PAGE;
    let src: number;
    if ('block' in request.source) src = request.source.block.gpa + staged;
    else {
      const buffer = staging.pages()[parity];
      parity ^= 1;
      buffer.bytes.set(request.source.bytes.subarray(staged, staged + length));
      src = buffer.gpa;
    }
    staged += length;
    return { offset: at, count: run.count, gpa: run.gpa, src };
  }

  function submit(piece: Piece, done: number): void {
    const view = new DataView(operands.bytes.buffer, operands.bytes.byteOffset + DESCRIPTORS, DESCRIPTOR);
    const put = (index: number, value: number) => view.setBigUint64(index * 8, BigInt(value), true);
    put(0, file.secs);
    put(1, file.base + piece.offset + done);
    put(2, piece.src + done);
    put(3, piece.count * PAGE - done);
    put(4, operands.gpa + SECINFO_AT);
    put(5, piece.gpa + done);
    put(6, request.measure ? 1 : 0);
    connection.vcpu.submit(SGX_PROTOCOL, SGX_CALL.ADD_RANGE, operands.gpa + DESCRIPTORS);
  }

  /** Waits for a piece; goes on where the monitor interrupted it. */
  function complete(piece: Piece): void {
    const length = piece.count * PAGE;
    let done = 0;
    try {
      for (let rounds = 0; done < length; rounds++) {
        const result = connection.vcpu.finish();
        if ((result.rax === SVSM_RESULT.INCOMPLETE || result.rax === SVSM_RESULT.BUSY) && rounds < 4096) {
          if (result.rax === SVSM_RESULT.INCOMPLETE) done += wholePages(result.rdx, length - done);
          if (done < length) submit(piece, done);
          continue;
        }
        const progress = wholePages(result.rdx, length - done);
        const outcome = leafOutcome(result, 'ADD_RANGE');
        done += outcome.fault === undefined ? progress : 0;
        if (outcome.fault !== undefined || outcome.code !== 0 || done < length)
          throw file.leafFailed(
            'EIO',
            `adding the page at 0x${(piece.offset + done).toString(16)} failed`,
            outcome,
          );
      }
    } catch (error) {
      enter(piece, done);
      // A faulting range does not say how far it came: every frame of it is removed, not just freed.
      const left = piece.count - done / PAGE;
      if (left > 0) file.discard(piece.gpa + done, left, left);
      if (error instanceof SgxIoctlError) error.count = confirmed;
      throw error;
    }
    enter(piece, done);
  }

  function enter(piece: Piece, done: number): void {
    if (done > 0) {
      const count = done / PAGE;
      file.pages.insert({ offset: piece.offset, count, gpa: piece.gpa, flags: request.secinfoFlags });
      supply.entered(file, piece.offset, piece.gpa, count);
    }
    confirmed += done;
  }

  function failure(errno: ErrnoName, message: string, cause?: unknown): SgxIoctlError {
    const error = new SgxIoctlError(errno, message, { cause });
    error.count = confirmed;
    return error;
  }
}

function wholePages(bytes: number, limit: number): number {
  return Math.min(Math.floor(bytes / PAGE) * PAGE, limit);
}
