/** Patience with a security processor that serves many guests: hosts throttle requests (GHCB specification, SNP_GUEST_VMM_ERR_BUSY). */
import { MachineError } from '../../errors.js';

/** How often, and how long between two attempts (doubled each time). */
export interface Patience {
  readonly attempts: number;
  readonly firstPauseMs: number;
}

/** About six seconds in all; hosts allow about two requests a second. */
export const DEFAULT_PATIENCE: Patience = Object.freeze({ attempts: 8, firstPauseMs: 50 });

/** Thrown by an attempt that may be repeated. */
export class Busy extends Error {}

/** Repeats `attempt` while it throws {@link Busy}. Throws HARDWARE_PSP_BUSY when patience ends. */
export function patiently<T>(patience: Patience, what: string, attempt: () => T): T {
  let pause = patience.firstPauseMs;
  for (let left = patience.attempts; ; left--) {
    try {
      return attempt();
    } catch (error) {
      if (!(error instanceof Busy)) throw error;
      if (left <= 1)
        throw new MachineError(
          'HARDWARE_PSP_BUSY',
          `${what} stayed busy for ${patience.attempts} attempts: ${error.message}`,
          { cause: error, advice: 'Try again later; the host limits how often guests may ask.' },
        );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
    pause *= 2;
  }
}
