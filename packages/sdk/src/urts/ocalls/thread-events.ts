/**
 * Events on which threads of an enclave wait outside of it: mutexes, condition variables and joins of the SDK. Each event
 * belongs to a thread, named by its TCS, and counts: a set before the wait is not lost, nor are two.
 * Source of the protocol: sgx_tstdc.edl, sgx_pthread.edl; se_event (a counter with sleepers).
 */
import { SGX_STATUS } from '../sgx-status.js';
import type { BuiltinOcalls } from './builtin-host.js';

/** Events that are set or waited for at a time. An enclave has one for each TCS; more are made up. */
const MAX_EVENTS = 65_536;
/** Waits at a time, of all events. */
const MAX_WAITS = 65_536;
/** Longest wait in seconds that a timer can be set for; longer ones wait until woken. */
const MAX_SECONDS = BigInt(Math.floor((2 ** 31 - 1) / 1000));

/** Answers of the SDK's untrusted half as the int that they are. Source: se_error_internal.h. */
const SUCCESS = SGX_STATUS.SGX_SUCCESS;
const NO_EVENT = 0xc0003001 | 0;
const WAIT_FAILED = 0xc0003002 | 0;
const INVALID = SGX_STATUS.SGX_ERROR_INVALID_PARAMETER;

interface Wait {
  readonly timer: NodeJS.Timeout | undefined;
  end(answer: number): void;
}

interface Event {
  /** Sets that no wait has used yet. */
  sets: number;
  /** Who waits, the longest first; without waits once there are sets. */
  readonly waits: Set<Wait>;
}

/** The events of one enclave. */
export class ThreadEvents {
  readonly #events = new Map<bigint, Event>();
  #waits = 0;
  #ended = false;

  /** @param ended when it is aborted, all waits end with a failure, and later ones do at once */
  constructor(ended: AbortSignal) {
    if (ended.aborted) this.#end();
    else ended.addEventListener('abort', () => this.#end(), { once: true });
  }

  /** Events that are set or waited for. */
  get size(): number {
    return this.#events.size;
  }

  /** Waits under way. */
  get waiting(): number {
    return this.#waits;
  }

  /** Waits for an event; at once where it is set already. @param seconds 0n without limit; then it is a success as well */
  wait(self: bigint, seconds = 0n): number | Promise<number> {
    if (self === 0n) return INVALID;
    if (this.#ended) return WAIT_FAILED;
    const event = this.#event(self);
    if (event === undefined) return NO_EVENT;
    if (event.sets > 0) {
      event.sets--;
      this.#drop(self, event);
      return SUCCESS;
    }
    if (this.#waits >= MAX_WAITS) {
      this.#drop(self, event);
      return WAIT_FAILED;
    }
    this.#waits++;
    return new Promise((resolve) => {
      const wait: Wait = {
        timer:
          seconds > 0n && seconds <= MAX_SECONDS
            ? setTimeout(() => wait.end(SUCCESS), Number(seconds) * 1000)
            : undefined,
        end: (answer) => {
          clearTimeout(wait.timer);
          this.#waits--;
          event.waits.delete(wait);
          this.#drop(self, event);
          resolve(answer);
        },
      };
      event.waits.add(wait);
    });
  }

  /** Sets an event: wakes the thread that waits longest for it, or the next that will. */
  set(waiter: bigint): number {
    if (waiter === 0n) return INVALID;
    const event = this.#event(waiter);
    if (event === undefined) return NO_EVENT;
    const [first] = event.waits;
    if (first !== undefined) first.end(SUCCESS);
    else event.sets++;
    return SUCCESS;
  }

  #event(key: bigint): Event | undefined {
    let event = this.#events.get(key);
    if (event === undefined && this.#events.size < MAX_EVENTS) {
      event = { sets: 0, waits: new Set() };
      this.#events.set(key, event);
    }
    return event;
  }

  #drop(key: bigint, event: Event): void {
    if (event.sets === 0 && event.waits.size === 0) this.#events.delete(key);
  }

  #end(): void {
    this.#ended = true;
    for (const event of [...this.#events.values()])
      for (const wait of [...event.waits]) wait.end(WAIT_FAILED);
    this.#events.clear();
  }
}

/** The OCALLs of sgx_tstdc.edl and sgx_pthread.edl that wait for events and set them. */
export function eventOcalls(events: ThreadEvents): BuiltinOcalls {
  const set = (waiter: bigint): number => events.set(waiter);
  return {
    sgx_thread_wait_untrusted_event_ocall: (self: bigint) => events.wait(self),
    sgx_thread_set_untrusted_event_ocall: set,
    sgx_thread_setwait_untrusted_events_ocall: (waiter: bigint, self: bigint) => {
      const status = events.set(waiter);
      return status === SUCCESS ? events.wait(self) : status;
    },
    sgx_thread_set_multiple_untrusted_events_ocall: (waiters: readonly bigint[] | null) => {
      if (waiters === null || waiters.length === 0) return INVALID;
      for (const waiter of waiters) {
        const status = events.set(waiter);
        if (status !== SUCCESS) return status;
      }
      return SUCCESS;
    },
    pthread_wait_timeout_ocall: (waiter: bigint, seconds: bigint) => events.wait(waiter, seconds),
    // Waking somebody who is not there is no failure.
    pthread_wakeup_ocall: (waiter: bigint) => {
      events.set(waiter);
      return SUCCESS;
    },
  };
}
