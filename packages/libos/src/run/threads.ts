/** The host's side of a program's threads: it lends them TCSs, lets them sleep, and hears how the program has ended. */

/** Slot with which a thread says that it waits for nobody (native/src/host.c). */
const NOBODY = 64;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const REFUSED = -1;

/** What threads need of their enclave. */
export interface ThreadSource {
  /** Runs the thread of a slot to its end. @throws when there is no TCS for it, and what its call throws */
  run(slot: number): Promise<unknown>;
  /** A thread of the program has failed: the enclave is of no more use. */
  failed(error: unknown): void;
  /** The program is over. */
  exited(status: number): void;
}

interface Sleeper {
  wake(): void;
}

/** The OCALL handlers of threads (interface.ts). Once the program is over (`over`) nobody sleeps any more. */
export function threadHandlers(source: () => ThreadSource, over: AbortSignal) {
  const sleeping = new Map<number, Sleeper>();
  const woken = new Set<number>();
  const refused = new Set<(reason: Error) => void>();
  over.addEventListener('abort', () => {
    for (const refuse of refused) refuse(new Error('the program is over'));
  });
  return {
    park(slot: number, timeout: bigint): Promise<void> | undefined {
      if (woken.delete(slot)) return undefined;
      over.throwIfAborted();
      return new Promise((resolve, reject) => {
        refused.add(reject);
        let timer: NodeJS.Timeout | undefined;
        const wake = () => {
          clearTimeout(timer);
          if (slot !== NOBODY) sleeping.delete(slot);
          refused.delete(reject);
          resolve();
        };
        if (timeout === 0n) setImmediate(wake);
        else if (timeout > 0n) {
          const ms = Math.ceil(Number(timeout) / 1e6);
          timer = setTimeout(wake, Math.min(ms, LONGEST_TIMER_MS));
        }
        if (slot !== NOBODY) sleeping.set(slot, { wake });
      });
    },
    unpark(slot: number): void {
      const sleeper = sleeping.get(slot);
      if (sleeper !== undefined) sleeper.wake();
      else if (slot < NOBODY) woken.add(slot);
    },
    start_thread(slot: number): number {
      const threads = source();
      try {
        threads.run(slot).catch((error) => threads.failed(error));
        return 0;
      } catch {
        return REFUSED;
      }
    },
    exit(status: number): void {
      source().exited(status | 0);
    },
  };
}
