import inspector from 'node:inspector';
import { NsgxError } from '@nestedsgx/arch';

/**
 * Keeps debuggers out of the monitor. SIGUSR1 makes Node open its inspector, which would give any process of the same
 * user arbitrary JavaScript in here; the launcher starts Node with an inspector address that cannot be bound, and this
 * listener replaces Node's own as the first thing that runs.
 */
export function refuseSignalledInspector(): void {
  process.on('SIGUSR1', () => {
    // Taken, so that Node's default action (open the inspector) never runs.
  });
}

/** @throws NsgxError CVM_INSPECTOR_OPEN when a debugger is attached or waiting; call it before keys are made. */
export function requireNoInspector(): void {
  const url = inspector.url();
  if (url === undefined) return;
  throw new NsgxError('CVM_INSPECTOR_OPEN', `a debugger listens in the confidential VM at ${url}`, {
    advice: 'Launch through Cvm.launch or nsgx cvm start, and without --inspect in NODE_OPTIONS.',
  });
}
