/** Errors of the monitor. What an untrusted caller did wrong is never an exception: it is a leaf outcome or a result code. */
import { NsgxError } from '@nestedsgx/arch';

/** Every error code that package `monitor` throws, with its meaning in one line. */
export const MONITOR_ERRORS = Object.freeze({
  MONITOR_INVARIANT: 'The monitor found its own state inconsistent; the machine must stop.',
  MONITOR_CONFIG: 'The monitor was configured with values that cannot work together.',
  MONITOR_ATTACH: 'A connection, virtual CPU or EPC range cannot be attached as asked.',
  MONITOR_LIMIT: 'A request would need more of the monitor’s memory than it may; nothing was changed.',
  MONITOR_QUOTING: 'The attestation key could not be bound to an SNP report.',
} as const);

/** Codes of {@link MONITOR_ERRORS}. */
export type MonitorErrorCode = keyof typeof MONITOR_ERRORS;

/** An error of the monitor's configuration or wiring, never of an untrusted request. */
export class MonitorError extends NsgxError {
  constructor(code: MonitorErrorCode, message: string, options: { cause?: unknown; advice?: string } = {}) {
    super(code, message, options);
  }
}

/** A broken invariant of the monitor itself. Whoever sees one must stop the machine: keys may be at stake. */
export class MonitorInvariantError extends MonitorError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('MONITOR_INVARIANT', message, {
      ...options,
      advice: 'Stop the machine and report the message; this is a defect, not a wrong request.',
    });
  }
}

/** Throws {@link MonitorInvariantError} when `held` is false. */
export function invariant(held: boolean, message: string): asserts held {
  if (!held) throw new MonitorInvariantError(message);
}
