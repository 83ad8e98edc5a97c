/** Resources of the machine may run out; that is an answer for the guest, not a broken invariant. */

/** Keeps what the layers below said, for whoever wonders why a guest was refused. */
export class Failures {
  readonly #recent: string[] = [];
  /** How many there were. */
  count = 0;

  note(error: Error & { code: string }): void {
    this.count++;
    this.#recent.push(`${error.code}: ${error.message}`);
    if (this.#recent.length > 16) this.#recent.shift();
  }

  /** The latest failures, oldest first. */
  recent(): string[] {
    return [...this.#recent];
  }
}

/** Runs `action`; null when the processor or operating system refused it with a typed error. */
export function attempt<T>(action: () => T, failures?: Failures): T | null {
  try {
    return action();
  } catch (error) {
    if (!isResourceError(error)) throw error;
    failures?.note(error);
    return null;
  }
}

/** Runs `action`; false when the processor or operating system refused it with a typed error. */
export function available(action: () => void, failures?: Failures): boolean {
  return (
    attempt(() => {
      action();
      return true;
    }, failures) !== null
  );
}

/** Typed errors of the layers below; never Node's own argument errors, never a broken invariant. */
export function isResourceError(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false;
  return !error.code.startsWith('ERR_') && error.code !== 'MONITOR_INVARIANT';
}
