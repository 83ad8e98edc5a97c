/**
 * One virtual CPU of the guest at VMPL1: SVSM calls through a GHCB page.
 *
 * A call fills RAX, RCX, RDX, R8, R9 in the GHCB, sets `call_pending` in the calling area and performs the software
 * machine's VMGEXIT: it increments the vCPU's ring word and wakes the doorbell. The monitor answers by storing the ring
 * value in the answer word. (AMD 58019 "Secure VM Service Module", calling convention; GHCB standard 2.04.)
 */

import { readFileSync } from 'node:fs';
import { GHCB, GHCB_EXIT, SGX_CALL_FAULT, SVSM } from '@nestedsgx/arch';
import { AdaptiveWaiter, futexWake, pollFds } from '@nestedsgx/os';
import { guestError } from './errors.js';

/** Results of the SVSM calling convention; numbers are exact up to 2^53. Reused by the next call of the same vCPU. */
export interface SvsmResult {
  /** RAX: 0 or an SVSM result code (0x8000_0000 and up). */
  rax: number;
  rcx: number;
  rdx: number;
  r8: number;
}

/** Where the parts of a vCPU lie: virtual addresses, and views of the two pages and the doorbell page. */
export interface VcpuPlacement {
  id: number;
  ghcb: Uint8Array;
  caa: Uint8Array;
  /** Virtual address of the calling area page. */
  caaAddress: number;
  doorbell: Uint8Array;
  /** Virtual address of the doorbell page. */
  doorbellAddress: number;
  /** Descriptor that becomes readable when the cvm ends. */
  cvmPidfd: number;
  /** Most cycles to spin before sleeping; 0 with one usable CPU. */
  maxSpinCycles: number;
}

// 32-bit word indices into the GHCB page.
const AT = GHCB.offsets;
const RAX = AT.RAX / 4;
const RCX = AT.RCX / 4;
const RDX = AT.RDX / 4;
const R8 = AT.R8 / 4;
const R9 = AT.R9 / 4;
const EXIT_CODE = AT.SW_EXITCODE / 4;
const EXIT_INFO_1 = AT.SW_EXITINFO1 / 4;
const EXIT_INFO_2 = AT.SW_EXITINFO2 / 4;
const VALID_BITMAP = AT.VALID_BITMAP;
const VERSION = AT.PROTOCOL_VERSION;
const USAGE = AT.GHCB_USAGE;
const VALID_QUADWORDS = [RAX, RCX, RDX, R8, R9, EXIT_CODE, EXIT_INFO_1, EXIT_INFO_2].map((word) => word / 2);

// Offsets in the calling area page and the doorbell page.
const RING = 64 / 4;
const ANSWER = 128 / 4;
const HOST_ASLEEP = 192 / 4;
const WAKE = 0;
const ASLEEP = 64 / 4;

const TWO_32 = 2 ** 32;
const SLICE_US = 20_000;
/** How often a call that waits looks whether somebody stopped the cvm, in milliseconds. */
const LOOK_MS = 60;

/** SVSM result codes used by this package. */
export const SVSM_RESULT = Object.freeze({ ...SVSM, FAULT: SGX_CALL_FAULT });

function words(page: Uint8Array): Int32Array {
  return new Int32Array(page.buffer, page.byteOffset, page.byteLength / 4);
}

/** A vCPU handle. Calls are synchronous; one call at a time. */
export class Vcpu {
  readonly id: number;
  readonly #place: VcpuPlacement;
  readonly #ghcb: Int32Array;
  readonly #caa: Int32Array;
  readonly #doorbell: Int32Array;
  readonly #result: SvsmResult = { rax: 0, rcx: 0, rdx: 0, r8: 0 };
  readonly #waiter: AdaptiveWaiter;
  #pending = 0;
  #busy = false;
  #deferred: ((rdx: number) => void) | null = null;
  #closed: string | null = null;

  constructor(place: VcpuPlacement) {
    this.id = place.id;
    this.#place = place;
    this.#ghcb = words(place.ghcb);
    this.#caa = words(place.caa);
    this.#doorbell = words(place.doorbell);
    this.#waiter = new AdaptiveWaiter(place.caaAddress + ANSWER * 4, place.caaAddress + HOST_ASLEEP * 4, {
      maxSpinCycles: place.maxSpinCycles,
    });
  }

  /** Why the vCPU can no longer be used, or null. */
  get closed(): string | null {
    return this.#closed;
  }

  /** Makes every later call fail with CVM_LOST and `why`. */
  close(why: string): void {
    this.#closed ??= why;
  }

  /**
   * Performs one SVSM call and waits for its answer.
   *
   * The result object is reused: read it before the next call. `timeoutMs` bounds the wait for a monitor that is alive
   * but does not answer; its end is noticed within 20 ms in any case, and that somebody stopped it (SIGSTOP) within 100 ms.
   * @throws VCPU_BUSY, CVM_LOST, GUEST_TIMEOUT
   */
  call(protocol: number, call: number, rcx = 0, rdx = 0, r8 = 0, r9 = 0, timeoutMs = 30_000): SvsmResult {
    this.submit(protocol, call, rcx, rdx, r8, r9);
    return this.finish(timeoutMs);
  }

  /**
   * Starts a call that nobody waits for. `done` gets its RDX (0 when it was not served) before the vCPU's next call, or when
   * `settle` is called.
   * @throws VCPU_BUSY, CVM_LOST
   */
  defer(protocol: number, call: number, rcx: number, done: (rdx: number) => void): void {
    this.submit(protocol, call, rcx);
    this.#deferred = done;
  }

  /** Collects a deferred call, if there is one. A vCPU that is lost over it says so with its next call. */
  settle(): void {
    const done = this.#deferred;
    if (done === null) return;
    this.#deferred = null;
    let rdx = 0;
    try {
      rdx = this.finish().rdx;
    } catch {
      // The next call throws it.
    }
    done(rdx);
  }

  /** Starts a call and returns at once; `finish` collects it. @throws VCPU_BUSY, CVM_LOST */
  submit(protocol: number, call: number, rcx = 0, rdx = 0, r8 = 0, r9 = 0): void {
    this.settle();
    if (this.#closed !== null) throw lost(this.#closed);
    if (this.#busy)
      throw guestError(
        'VCPU_BUSY',
        `vCPU ${this.id} is inside another call`,
        'use another vCPU for nested calls',
      );
    this.#busy = true;
    const g = this.#ghcb;
    const page = this.#place.ghcb;
    page.fill(0, VALID_BITMAP, VALID_BITMAP + 16);
    for (const index of VALID_QUADWORDS) page[VALID_BITMAP + (index >>> 3)] |= 1 << (index & 7);
    g[RAX] = call;
    g[RAX + 1] = protocol;
    put(g, RCX, rcx);
    put(g, RDX, rdx);
    put(g, R8, r8);
    put(g, R9, r9);
    put(g, EXIT_CODE, GHCB_EXIT.SNP_RUN_VMPL);
    put(g, EXIT_INFO_1, 0);
    put(g, EXIT_INFO_2, 0);
    page[VERSION] = 2;
    page[VERSION + 1] = 0;
    page.fill(0, USAGE, USAGE + 4);
    this.#place.caa[0] = 1;
    this.#pending = (Atomics.load(this.#caa, RING) + 1) | 0;
    Atomics.store(this.#caa, RING, this.#pending);
    Atomics.add(this.#doorbell, WAKE, 1);
    if (Atomics.load(this.#doorbell, ASLEEP) !== 0) futexWake(this.#place.doorbellAddress, 1);
  }

  /** Waits for the answer of the submitted call. @throws CVM_LOST, GUEST_TIMEOUT */
  finish(timeoutMs = 30_000): SvsmResult {
    const place = this.#place;
    let deadline = 0;
    let lookAt = 0;
    for (;;) {
      const seen = Atomics.load(this.#caa, ANSWER);
      if (seen === this.#pending) break;
      this.#waiter.wait(seen >>> 0, SLICE_US);
      if (Atomics.load(this.#caa, ANSWER) === this.#pending) break;
      const now = performance.now();
      if (deadline === 0) {
        deadline = now + timeoutMs;
        lookAt = now + LOOK_MS;
      }
      if (now > lookAt) {
        lookAt = now + LOOK_MS;
        if (processStopped(place.cvmPidfd)) {
          this.close('the confidential VM is stopped');
          this.#busy = false;
          throw lost(this.#closed as string);
        }
      }
      if (cvmEnded(place.cvmPidfd)) {
        this.close('the confidential VM has ended');
        this.#busy = false;
        throw lost(this.#closed as string);
      }
      if (now > deadline) {
        // The page may still be written by a late answer, so the vCPU cannot be used again.
        this.close(`the monitor did not answer within ${timeoutMs} ms`);
        this.#busy = false;
        throw guestError(
          'GUEST_TIMEOUT',
          `the monitor did not answer within ${timeoutMs} ms`,
          'launch a new one',
        );
      }
    }
    this.#busy = false;
    const g = this.#ghcb;
    const result = this.#result;
    if (place.caa[0] !== 0) {
      // Still pending: the call was not served (SVSM calling convention).
      result.rax = SVSM_RESULT.INVALID_REQUEST;
      result.rcx = result.rdx = result.r8 = 0;
      return result;
    }
    result.rax = get(g, RAX);
    result.rcx = get(g, RCX);
    result.rdx = get(g, RDX);
    result.r8 = get(g, R8);
    return result;
  }
}

/** True when the process behind `pidfd` has ended. */
export function cvmEnded(pidfd: number): boolean {
  return pollFds([{ fd: pidfd, events: 1 }], 0)[0] !== 0;
}

/** True while the process behind `pidfd` is stopped by a signal or a tracer. */
export function processStopped(pidfd: number): boolean {
  try {
    const pid = /^Pid:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'latin1'))?.[1];
    if (pid === undefined) return false;
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^[Tt]$/.test(stat.charAt(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

function lost(why: string): Error {
  return guestError('CVM_LOST', why, 'launch a new confidential VM; sealed data can be opened there again');
}

function put(page: Int32Array, at: number, value: number): void {
  page[at] = value % TWO_32;
  page[at + 1] = value / TWO_32;
}

function get(page: Int32Array, at: number): number {
  return (page[at] >>> 0) + (page[at + 1] >>> 0) * TWO_32;
}
