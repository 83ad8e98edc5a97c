/**
 * Threads that an enclave of Intel's SDK makes while it runs: its first thread stays outside of all calls and makes the
 * TCSs of the others. Source: Intel SGX SDK for Linux, psw/urts/tcs.cpp.
 */
import type { SgxEnclaveFile } from '@nestedsgx/guest';
import { sdkError } from '../../errors.js';

/** The driver as far as it is used here. */
export type ThreadDriver = Pick<SgxEnclaveFile, 'base' | 'ssaFrameBytes' | 'threadSlot' | 'threads'>;

/** Threads not made yet. */
export class DynamicThreads {
  readonly #driver: ThreadDriver;
  readonly #pending: number[];
  readonly #make: (tcs: number) => void;
  #making = false;

  /**
   * @param offsets TCSs from BASEADDR, in the order in which they are made
   * @param make has the enclave make the TCS at an address (ECMD_MKTCS on its utility thread)
   */
  constructor(driver: ThreadDriver, offsets: readonly number[], make: (tcs: number) => void) {
    this.#driver = driver;
    this.#pending = [...offsets].reverse();
    this.#make = make;
  }

  /** How many may still be made. */
  get left(): number {
    return this.#making ? 0 : this.#pending.length;
  }

  /**
   * Makes the next thread; returns its gate.
   * @throws TCS_EXHAUSTED when none is left or the machine has no gate for it; what MKTCS throws
   */
  next(): number {
    const offset = this.left > 0 ? this.#pending.pop() : undefined;
    if (offset === undefined)
      throw sdkError(
        'TCS_EXHAUSTED',
        'the enclave has no thread left to make',
        'sign it with a larger TCSMaxNum',
      );
    this.#making = true;
    try {
      this.#make(this.#driver.base + offset);
    } finally {
      this.#making = false;
    }
    const gate = this.#driver.threadSlot(offset);
    if (gate === null)
      throw sdkError(
        'TCS_EXHAUSTED',
        `the machine has no gate left for the TCS at offset 0x${offset.toString(16)}`,
        'sign the enclave with a smaller TCSMaxNum',
      );
    this.#learn(gate, offset);
    return gate;
  }

  /** All TCSs follow one template, so the SSA lies behind a new TCS as it does behind any other. */
  #learn(gate: number, tcs: number): void {
    const { threads, ssaFrameBytes } = this.#driver;
    for (let other = 0; other < threads.count; other++) {
      const known = threads.known(other);
      if (known === undefined || other === gate) continue;
      threads.learn(gate, { tcs, ossa: tcs + known.ossa - known.tcs, nssa: known.nssa }, ssaFrameBytes);
      return;
    }
  }
}
