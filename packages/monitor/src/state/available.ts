/** Resources of the machine may run out; that is an answer for the guest, not a broken invariant. */

/** Runs `action`; null when the processor or operating system refused it with a typed error. */
export function attempt<T>(action: () => T): T | null {
  try {
    return action();
  } catch (error) {
    if (isResourceError(error)) return null;
    throw error;
  }
}

/** Runs `action`; false when the processor or operating system refused it with a typed error. */
export function available(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (isResourceError(error)) return false;
    throw error;
  }
}

/** Typed errors of the layers below; never Node's own argument errors, never a broken invariant. */
export function isResourceError(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false;
  return !error.code.startsWith('ERR_') && error.code !== 'MONITOR_INVARIANT';
}
