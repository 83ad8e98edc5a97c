/** What the built-in OCALLs need of the enclave that makes them. */
import type { GuestMemory } from '@nestedsgx/guest';

/** The enclave's side of `builtinOcalls`. */
export interface BuiltinHost {
  /**
   * Enters the enclave on a free thread (TCS) with command ECMD_ECALL_PTHREAD and the address of a u64 that is 0.
   * @param self the TCS of the thread that asks
   * @returns when that call has returned: what the enclave left in the u64, the TCS of a thread that waits for the end of
   *   the new one (0n: none). SGX_PTHREAD_EXIT is a return as well. Rejects when the enclave fails.
   * @throws NsgxError TCS_EXHAUSTED at once, when no thread is free
   */
  startThread(self: bigint): Promise<bigint>;
  /** Guest RAM, where protected files lie while they are open. */
  readonly memory: Pick<GuestMemory, 'alloc' | 'free'>;
  /**
   * The folder for protected files: relative names are looked for in it, absolute ones must lead into it. Without it the
   * enclave may open none: an enclave chooses names freely, and its host's files are none of its business unless its host
   * says so.
   */
  readonly files?: string;
  /** Aborted when the enclave is gone: ends waits, writes files back and closes them. */
  readonly ended: AbortSignal;
}

/** A handler with arguments and answer as package edl decodes and encodes them. */
export type BuiltinOcall = (...args: never[]) => unknown;

/** Handlers by OCALL name. */
export type BuiltinOcalls = Readonly<Record<string, BuiltinOcall>>;
