/** How switchless calls are configured. Source of names and defaults: Intel SGX SDK, sgx_uswitchless_config_t. */
import { SWITCHLESS_MAX_WORDS, SWITCHLESS_MAX_WORKERS } from '@nestedsgx/cpu/host';
import { sdkError } from '../../errors.js';

/** What workers did, as the SDK counts it. */
export interface WorkerCounts {
  processed: number;
  missed: number;
}

export type WorkerType = 'trusted' | 'untrusted';
export type WorkerEvent = 'start' | 'idle' | 'miss' | 'exit';

/** Switchless calls of an enclave that was built with libsgx_tswitchless. At least one kind of worker is needed. */
export interface SwitchlessOptions {
  /** Threads of the enclave that stay inside for ECALLs, each on a TCS and, while awake, a CPU of its own. Default 1. */
  trustedWorkers?: number;
  /**
   * Whether OCALLs are taken without an exit: 0 or more. One thread, the one that waits for the enclave, takes them all,
   * whatever the number. Default 1.
   */
  untrustedWorkers?: number;
  /** Pauses of the processor before a call that nobody took becomes an ordinary one. Default 20,000. */
  retriesBeforeFallback?: number;
  /** Pauses without work before a worker sleeps. Default 20,000. */
  retriesBeforeSleep?: number;
  /** Calls that may be outstanding in each direction, in units of 64. Default 1, at most 8. */
  poolWords?: number;
  /** Told what workers do: that one starts, falls idle, misses a call, or ends. */
  onWorkerEvent?: (type: WorkerType, event: WorkerEvent, counts: WorkerCounts) => void;
}

/** Options with defaults in their places. */
export type SwitchlessConfig = Readonly<
  Record<
    'trustedWorkers' | 'untrustedWorkers' | 'retriesBeforeFallback' | 'retriesBeforeSleep' | 'words',
    number
  >
>;

const RETRIES = 20_000;
const MOST_RETRIES = 2 ** 32 - 1;

/** @throws LAUNCH_OPTION_INVALID */
export function switchlessConfig(options: SwitchlessOptions): SwitchlessConfig {
  const config = {
    trustedWorkers: whole('trustedWorkers', options.trustedWorkers ?? 1, 0, SWITCHLESS_MAX_WORKERS),
    untrustedWorkers: whole('untrustedWorkers', options.untrustedWorkers ?? 1, 0, SWITCHLESS_MAX_WORKERS),
    // As in the SDK, 0 is the default.
    retriesBeforeFallback:
      whole('retriesBeforeFallback', options.retriesBeforeFallback ?? 0, 0, MOST_RETRIES) || RETRIES,
    retriesBeforeSleep:
      whole('retriesBeforeSleep', options.retriesBeforeSleep ?? 0, 0, MOST_RETRIES) || RETRIES,
    words: whole('poolWords', options.poolWords ?? 1, 1, SWITCHLESS_MAX_WORDS),
  };
  if (config.trustedWorkers === 0 && config.untrustedWorkers === 0)
    throw sdkError(
      'LAUNCH_OPTION_INVALID',
      'switchless calls without any worker',
      'give switchless at least one trusted or untrusted worker, or leave it out',
    );
  return config;
}

function whole(name: string, value: unknown, least: number, most: number): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most)
    return value as number;
  throw sdkError(
    'LAUNCH_OPTION_INVALID',
    `switchless.${name} is ${String(value)}`,
    `give a whole number from ${least} to ${most}`,
  );
}
