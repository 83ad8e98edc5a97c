/** Trying things from inside a malicious enclave, which most of them end. */
import { EnclaveFault } from '@nestedsgx/sdk';
import type { Stage } from './stage.js';
import type { Victim } from './victim.js';

const PATIENCE_MS = 3000;

/** How an attempt of enclave code ended. */
export interface Outcome {
  /** The exception (`#UD`), the error's code, `no answer`, or `returned`. */
  how: string;
  /** What it returned, when it did. */
  value?: unknown;
}

/** ECALLs of the sample `evil` as promises. */
// biome-ignore lint/suspicious/noExplicitAny: the interface comes from the sample's description
export type EvilCalls = Record<string, (...args: any[]) => Promise<unknown>>;

/** A malicious enclave that is loaded again whenever an attempt has ended it. */
export class Evil {
  #victim: Victim | null = null;
  loads = 0;

  constructor(private readonly stage: Stage) {}

  /** The enclave as it is now, loaded if it has to be. */
  async victim(): Promise<Victim> {
    if (this.#victim === null) {
      this.#victim = await this.stage.evil();
      this.loads++;
    }
    return this.#victim;
  }

  /** Lets enclave code do something. */
  async attempt(action: (calls: EvilCalls, victim: Victim) => Promise<unknown>): Promise<Outcome> {
    const victim = await this.victim();
    const calls = victim.enclave.async as unknown as EvilCalls;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), PATIENCE_MS);
    });
    const work = action(calls, victim);
    work.catch(() => undefined);
    try {
      const value = await Promise.race([work.then((result) => ({ result })), late]);
      if (value !== 'late') return { how: 'returned', value: value.result };
      await this.renew();
      return { how: 'no answer' };
    } catch (error) {
      await this.renew();
      if (error instanceof EnclaveFault) return { how: error.vectorName };
      return { how: String((error as { code?: unknown }).code ?? (error as Error).message) };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the enclave; the next attempt gets a new one. */
  async renew(): Promise<void> {
    const victim = this.#victim;
    this.#victim = null;
    await victim?.close();
  }
}
