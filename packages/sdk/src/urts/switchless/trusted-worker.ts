/** A thread that stays inside an enclave and runs its switchless ECALLs. It is looked at, never waited for. */
import type { PolledGate } from '../../gate-thread.js';
import type { IntelThread } from '../intel-thread.js';

/** One trusted worker. */
export class TrustedWorker {
  readonly thread: IntelThread;
  readonly #gate: PolledGate;
  readonly #index: number;
  #status: DataView | null = null;
  /** Whether it was sent in and has not come back, as far as was looked. */
  inside = false;

  /** @param index number of the ECALL that a worker runs */
  constructor(thread: IntelThread, gate: PolledGate, index: number) {
    this.thread = thread;
    this.#gate = gate;
    this.#index = index;
  }

  /** Sends it in. */
  start(): void {
    this.thread.post(this.#gate, () => {
      const { arena } = this.thread;
      const address = arena.alloc(8, 8);
      const bytes = arena.view(address, 8);
      this.#status = new DataView(bytes.buffer, bytes.byteOffset, 8);
      this.#status.setBigUint64(0, 0n, true);
      return { index: this.#index, address };
    });
    this.inside = true;
  }

  /**
   * Answers its exits so far: OCALLs, interrupts, exceptions. Gives the status of its loop once that has ended, or
   * undefined. @throws EnclaveFault, SgxStatusError, ENCLAVE_LOST
   */
  step(thoroughly = false): number | undefined {
    if (!this.inside) return undefined;
    this.inside = false;
    if (this.thread.step(this.#gate, 'a trusted worker', thoroughly)) return this.#status?.getUint32(0, true);
    this.inside = true;
    return undefined;
  }
}
