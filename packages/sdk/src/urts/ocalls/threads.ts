/** Threads that an enclave starts (pthread_create of the SDK). */
import { NsgxError } from '@nestedsgx/arch';
import { SGX_STATUS } from '../sgx-status.js';
import type { BuiltinHost, BuiltinOcalls } from './builtin-host.js';
import type { ThreadEvents } from './thread-events.js';

/**
 * Starts threads. The new thread takes its work from a queue in the enclave; when it has ended, the thread that waits for
 * it is woken.
 */
export function threadOcalls(host: BuiltinHost, events: ThreadEvents): BuiltinOcalls {
  let warned = false;
  return {
    pthread_create_ocall: (self: bigint) => {
      if (self === 0n) return SGX_STATUS.SGX_ERROR_INVALID_PARAMETER;
      let running: Promise<bigint>;
      try {
        running = host.startThread(self);
      } catch (error) {
        return error instanceof NsgxError && error.code === 'TCS_EXHAUSTED'
          ? SGX_STATUS.SGX_ERROR_OUT_OF_TCS
          : SGX_STATUS.SGX_ERROR_UNEXPECTED;
      }
      running.then(
        (waiter) => {
          if (waiter !== 0n) events.set(waiter);
        },
        // Nobody else hears of it: the enclave started the thread, not a caller of the host. Once, for it may start many.
        (error: unknown) => {
          if (host.ended.aborted || warned) return;
          warned = true;
          process.emitWarning(`a thread that the enclave started has failed: ${(error as Error).message}`);
        },
      );
      return SGX_STATUS.SGX_SUCCESS;
    },
  };
}
