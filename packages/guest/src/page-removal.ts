/**
 * EREMOVE of many frames, with interrupts for threads that are still inside. An enclave that is to go and whose threads
 * do not leave is stopped: they are never scheduled again.
 */
import { ENCLS, SGX_ERROR } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from './enclave-file.js';
import { encls, leafOutcome, SGX_CALL, sgxCall } from './svsm.js';
import { SVSM_RESULT } from './vcpu.js';

const PAGE = 4096;
/** Frames that one REMOVE_RANGE takes at most. */
const REMOVE_AT_ONCE = 4096;
/** Time for threads to leave, in milliseconds. */
const PATIENCE_MS = 250;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** True when all were removed. What the monitor no longer knows (cvm gone, enclave lost) is not given out again. */
export function removeFrames(file: SgxEnclaveFile, gpa: number, count: number): boolean {
  const { vcpu } = file.device.connection;
  if (vcpu.closed !== null || file.device.connection.closed) return false;
  try {
    const leaving = new Leaving(file);
    for (let done = 0; done < count; ) {
      const pieces = Math.min(count - done, REMOVE_AT_ONCE);
      const result = sgxCall(vcpu, SGX_CALL.REMOVE_RANGE, gpa + done * PAGE, pieces);
      if (result.rax === SVSM_RESULT.UNSUPPORTED_CALL)
        return removeSingly(file, gpa + done * PAGE, count - done);
      if (result.rax === SVSM_RESULT.INCOMPLETE) {
        done += Math.floor(result.rdx / PAGE);
        continue;
      }
      const outcome = leafOutcome(result, 'REMOVE_RANGE');
      done += Math.floor(outcome.rdx / PAGE);
      if (outcome.fault === undefined && outcome.code === 0) continue;
      if (outcome.code !== SGX_ERROR.SGX_ENCLAVE_ACT || !leaving.again()) return false;
    }
    return true;
  } catch {
    return false;
  }
}

/** Removes frames in any order of pages: as few calls as runs of frames. Returns the runs that were removed. */
export function removeRuns(file: SgxEnclaveFile, frames: number[]): { gpa: number; count: number }[] {
  const removed: { gpa: number; count: number }[] = [];
  frames.sort((a, b) => a - b);
  for (let i = 0; i < frames.length; ) {
    let count = 1;
    while (frames[i + count] === frames[i] + count * PAGE) count++;
    if (removeFrames(file, frames[i], count)) removed.push({ gpa: frames[i], count });
    i += count;
  }
  return removed;
}

/** Takes the pages of a range away, resident or evicted; their frames and slots are free again. Returns the bytes. */
export function takeAway(file: SgxEnclaveFile, offset: number, length: number): number {
  const { supply } = file.device;
  supply.settle();
  const frames: number[] = [];
  for (let at = offset; at < offset + length; at += PAGE) {
    if (file.pages.slot(at) >= 0) file.faults.bringIn(at);
    const gpa = file.pages.frame(at);
    if (gpa === 0) continue;
    supply.list?.remove(gpa);
    file.pages.remove(at);
    frames.push(gpa);
  }
  let bytes = 0;
  for (const { gpa, count } of removeRuns(file, frames)) {
    supply.give(gpa, count);
    bytes += count * PAGE;
  }
  supply.changes++;
  return bytes;
}

/**
 * Makes threads leave that are inside though nobody waits for them: an entry may come from noise in a gate page, and an
 * enclave may lie about its threads.
 */
class Leaving {
  readonly #file: SgxEnclaveFile;
  readonly #until = performance.now() + PATIENCE_MS;
  #stopped = false;

  constructor(file: SgxEnclaveFile) {
    this.#file = file;
  }

  /** False when another attempt to remove makes no sense. */
  again(): boolean {
    const file = this.#file;
    if (performance.now() < this.#until) {
      file.threads.kickOut(file.secs, true);
      Atomics.wait(PAUSE, 0, 0, 1);
      return true;
    }
    if (this.#stopped || !file.closed) return false;
    this.#stopped = true;
    return sgxCall(file.device.connection.vcpu, SGX_CALL.STOP, file.secs).rax === 0;
  }
}

function removeSingly(file: SgxEnclaveFile, gpa: number, count: number): boolean {
  const { vcpu } = file.device.connection;
  const leaving = new Leaving(file);
  for (let i = 0; i < count; ) {
    const outcome = encls(vcpu, ENCLS.EREMOVE, 'EREMOVE', 0, gpa + i * PAGE);
    if (outcome.fault === undefined && outcome.code === 0) i++;
    else if (outcome.code !== SGX_ERROR.SGX_ENCLAVE_ACT || !leaving.again()) return false;
  }
  return true;
}
