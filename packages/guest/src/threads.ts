/**
 * What the driver knows of an enclave's threads: the TCS behind each gate with its SSA, and which are inside. Kicks
 * stand for the interrupts by which a kernel makes processors leave an enclave.
 */
import { TCS } from '@nestedsgx/arch';
import type { GuestBlock } from './memory.js';
import { SGX_CALL, sgxCall } from './svsm.js';
import type { Vcpu } from './vcpu.js';

const PAGE = 4096;
// 32-bit word indices in a gate page: sequence numbers of request and response.
const REQUEST = 0;
const RESPONSE = 64 / 4;
const WORDS = PAGE / 4;
/** Longest wait for a kicked thread, in milliseconds: the monitor gives an enclave up after 100. */
const LEAVE_MS = 250;
const PAUSE_MS = 0.05;
/** A thread whose entry was published and not begun is not inside yet: a kick does nothing, and is sent again. */
const AGAIN_MS = 2;
const pauseWord = new Int32Array(new SharedArrayBuffer(4));

/** A TCS as offsets from BASEADDR, and the pages of its SSA frames. */
export interface KnownThread {
  tcs: number;
  ossa: number;
  nssa: number;
}

/** Gates and threads of one enclave. */
export class EnclaveThreads {
  readonly #vcpu: Vcpu;
  /** By gate; the order of EADD, and then what `learn` was told. */
  readonly #known: (KnownThread | undefined)[] = [];
  readonly #entryPages = new Set<number>();
  #gates: Int32Array | null = null;
  #count = 0;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** Gates bound. */
  get count(): number {
    return this.#count;
  }

  /** Takes over the gate pages. */
  bind(gates: GuestBlock, count: number): void {
    this.#gates = new Int32Array(gates.bytes.buffer, gates.bytes.byteOffset, count * WORDS);
    this.#count = count;
  }

  /** Reads a TCS page that is being added; the thread gets the next gate. */
  added(offset: number, page: Uint8Array, ssaFrameBytes: number): void {
    const { OSSA, NSSA } = TCS.decode(page);
    this.learn(this.#known.length, { tcs: offset, ossa: Number(OSSA), nssa: NSSA }, ssaFrameBytes);
  }

  /** Notes the thread behind a gate. */
  learn(gate: number, thread: KnownThread, ssaFrameBytes: number): void {
    this.#known[gate] = thread;
    this.#entryPages.add(thread.tcs);
    for (const offset of ssaPages(thread, ssaFrameBytes)) this.#entryPages.add(offset);
  }

  /** The thread behind a gate, if the driver knows it. */
  known(gate: number): KnownThread | undefined {
    return this.#known[gate];
  }

  /** True for TCS and SSA pages: without them a thread cannot enter. */
  neededForEntry(offset: number): boolean {
    return this.#entryPages.has(offset);
  }

  /** True while somebody waits for the thread behind a gate to leave. */
  inside(gate: number): boolean {
    const words = this.#gates;
    if (words === null) return false;
    return Atomics.load(words, gate * WORDS + REQUEST) !== Atomics.load(words, gate * WORDS + RESPONSE);
  }

  /** Threads inside. */
  get insideCount(): number {
    let count = 0;
    for (let i = 0; i < this.#count; i++) if (this.inside(i)) count++;
    return count;
  }

  /**
   * Makes every thread leave that is inside now, and waits until they have. Threads without a caller (`all`) are kicked
   * too: an entry may come from noise in a gate page. Returns false when one is still inside.
   */
  kickOut(secs: number, all = false): boolean {
    const words = this.#gates;
    if (words === null) return true;
    const waiting: { gate: number; seen: number }[] = [];
    for (let gate = 0; gate < this.#count; gate++) {
      const inside = this.inside(gate);
      if (!inside && !all) continue;
      const seen = Atomics.load(words, gate * WORDS + RESPONSE);
      sgxCall(this.#vcpu, SGX_CALL.KICK, secs, gate);
      if (inside) waiting.push({ gate, seen });
    }
    const deadline = performance.now() + LEAVE_MS;
    for (const { gate, seen } of waiting) {
      let again = performance.now() + AGAIN_MS;
      while (Atomics.load(words, gate * WORDS + RESPONSE) === seen) {
        const now = performance.now();
        if (now > deadline) return false;
        if (now > again) {
          sgxCall(this.#vcpu, SGX_CALL.KICK, secs, gate);
          again = now + AGAIN_MS;
        }
        Atomics.wait(pauseWord, 0, 0, PAUSE_MS);
      }
    }
    return true;
  }

  /** Forgets gates whose memory goes. */
  close(): void {
    this.#gates = null;
    this.#count = 0;
  }
}

/** Offsets of the pages of a thread's SSA frames. */
export function ssaPages(thread: KnownThread, ssaFrameBytes: number): number[] {
  const pages: number[] = [];
  const bytes = Math.min(thread.nssa, 64) * ssaFrameBytes;
  if (!Number.isSafeInteger(thread.ossa) || thread.ossa % PAGE !== 0) return pages;
  for (let at = 0; at < bytes; at += PAGE) pages.push(thread.ossa + at);
  return pages;
}
