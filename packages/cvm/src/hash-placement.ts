import type { ThreadPlacement } from '@nestedsgx/monitor';
import { setAffinity, usableCpus } from '@nestedsgx/os';

/**
 * Where the monitor's thread and its hash thread run: the hash thread has the last CPU to itself while it works. Between
 * measurements the monitor's thread may run anywhere, and so may the runners that it starts then.
 */
export class HashPlacement implements ThreadPlacement {
  readonly #cpus = usableCpus();
  #threadId: number | null = null;
  #apart = false;

  /** True while the monitor's thread keeps off a CPU: no process should be started then. */
  get isApart(): boolean {
    return this.#apart;
  }

  started(threadId: number): void {
    this.#threadId = threadId;
    this.#place(threadId, this.#cpus.slice(-1));
  }

  apart(): void {
    if (this.#apart || this.#threadId === null) return;
    this.#apart = this.#place(0, this.#cpus.slice(0, -1));
  }

  together(): void {
    if (!this.#apart) return;
    this.#place(0, this.#cpus);
    this.#apart = false;
  }

  /** A system that refuses (a container whose CPUs changed) costs speed only. */
  #place(threadId: number, cpus: readonly number[]): boolean {
    try {
      setAffinity(threadId, cpus);
      return true;
    } catch {
      return false;
    }
  }
}
