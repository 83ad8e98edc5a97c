/** An enclave with this project's own runtime as its host sees it. */
import { PT_TRIM } from '@nestedsgx/arch';
import {
  type FunctionDescription,
  type InterfaceDescription,
  MessageWriter,
  readResult,
  writeArguments,
} from '@nestedsgx/edl';
import type { GuestConnection } from '@nestedsgx/guest';
import { quote, quotingTarget } from './attestation.js';
import type { BuiltEnclave } from './build-enclave.js';
import { EMPTY, type FrameSizes } from './call-frame.js';
import { addThread, trimHeap } from './dynamic-memory.js';
import { sdkError } from './errors.js';
import type { AsyncFunctions, OcallHandlers, SyncFunctions } from './interface.js';
import { type CommonLoadOptions, LoadedEnclave } from './loaded-enclave.js';
import { type OcallHandler, ocallDispatch, type RawOcall } from './ocalls.js';
import { missingFeatures } from './platform.js';
import { EnclaveStatusError } from './status.js';
import { COMMAND, EnclaveThread, type ThreadOwner } from './thread.js';

/** Options of `cvm.load`. Sizes in bytes. */
export interface LoadOptions<I extends InterfaceDescription = InterfaceDescription>
  extends CommonLoadOptions {
  /** Handlers of the interface's OCALLs by name. */
  ocalls?: OcallHandlers<I['ocalls']>;
  /** Answers OCALLs that have no handler by name, with bytes. */
  onOcall?: RawOcall;
  /** Memory per thread that OCALL requests must fit into. Default 256 KiB. */
  ocallBufferBytes?: number;
  /** Largest request or response. Default 64 MiB. */
  maxMessageBytes?: number;
}

/** An enclave with this project's own runtime. Made by `Cvm.load`. */
export class Enclave<
  I extends InterfaceDescription = InterfaceDescription,
> extends LoadedEnclave<EnclaveThread> {
  /** ECALLs by name, synchronous. */
  readonly ecalls: SyncFunctions<I['ecalls']>;
  /** ECALLs by name, as promises: the event loop stays free, and many may be under way at once. */
  readonly async: AsyncFunctions<I['ecalls']>;
  /** The interface that calls by name follow, if the enclave has one. */
  readonly interface: I | undefined;
  readonly #host: ThreadOwner;

  /** Not for direct use. @throws ENCLAVE_INIT_FAILED and what entering may throw */
  constructor(
    connection: GuestConnection,
    built: BuiltEnclave,
    description: I | undefined,
    options: LoadOptions<I>,
    onClose: () => void,
  ) {
    super(connection, built, options, onClose);
    this.interface = description;
    const sizes: FrameSizes = {
      ocallBufferBytes: options.ocallBufferBytes ?? 256 * 1024,
      maxMessageBytes: options.maxMessageBytes ?? 64 * 2 ** 20,
    };
    const dispatch = ocallDispatch(
      description?.ocalls ?? [],
      (options.ocalls ?? {}) as Readonly<Record<string, OcallHandler | undefined>>,
      options.onOcall,
      sizes.maxMessageBytes,
    );
    this.#host = Object.assign(this.owner, { sizes, dispatch });
    this.add(...Array.from({ length: built.threads }, (_, i) => this.#thread(i)));
    const { sync, async } = this.#functions(description?.ecalls ?? [], sizes.maxMessageBytes);
    this.ecalls = sync as SyncFunctions<I['ecalls']>;
    this.async = async as AsyncFunctions<I['ecalls']>;
  }

  /** Lets the runtime initialise itself. @throws ENCLAVE_INIT_FAILED and what entering may throw */
  initialise(): void {
    const block = this.connection.memory.alloc(16, { zero: true });
    try {
      const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, 16);
      view.setBigUint64(0, 1n, true);
      view.setBigUint64(8, BigInt(missingFeatures()), true);
      const status = this.threads[0].command(COMMAND.INIT, block.address);
      if (status !== 0)
        throw sdkError(
          'ENCLAVE_INIT_FAILED',
          `the enclave's runtime did not initialise (status ${status})`,
          'build the enclave with the same version of nestedsgx',
          new EnclaveStatusError(status, 'initialisation'),
        );
    } finally {
      this.connection.memory.free(block);
    }
  }

  /**
   * Calls ECALL number `index` with a request in the message format and returns the response, synchronously. Inside an
   * OCALL handler of a synchronous call, the call goes to the same thread of the enclave.
   * @throws EnclaveFault, EnclaveStatusError, ENCLAVE_LOST, ENCLAVE_CLOSED, ENCLAVE_CRASHED, TCS_EXHAUSTED, OCALL_FAILED,
   *   OCALL_PROMISE_IN_SYNC_ECALL, MESSAGE_TOO_LARGE, ECALL_DEPTH
   */
  ecall(index: number, request: Uint8Array = EMPTY): Uint8Array {
    this.usable();
    if (index < 0 || index > 0x7fff_ffff || (index | 0) !== index) throw unknownEcall(index);
    return this.#callSync(index, request, 'the ECALL');
  }

  /** As `ecall`, without blocking the event loop; waits for a free thread in turn. */
  async ecallAsync(index: number, request: Uint8Array = EMPTY): Promise<Uint8Array> {
    if ((index | 0) !== index || index < 0) throw unknownEcall(index);
    return this.#callAsync(index, request, `ECALL ${index}`);
  }

  /**
   * Evidence for a remote verifier: a quote whose report body names this enclave and holds `reportData` (up to 64 bytes,
   * padded with zeros).
   * @throws MESSAGE_INVALID, EnclaveStatusError (FORBIDDEN by the enclave's policy), SVSM_REFUSED
   */
  attest(options: { reportData?: Uint8Array } = {}): Uint8Array {
    this.usable();
    const data = options.reportData ?? EMPTY;
    if (!(data instanceof Uint8Array) || data.length > 64)
      throw sdkError(
        'REPORT_DATA_TOO_LONG',
        'reportData must be at most 64 bytes',
        'pass a hash of longer data',
      );
    const request = new Uint8Array(512 + 64);
    request.set(quotingTarget(this.connection));
    request.set(data, 512);
    return quote(this.connection, this.#callSync(COMMAND.REPORT, request, 'making a REPORT'));
  }

  /**
   * Adds a thread to the enclave: its runtime accepts new pages for stack, SSA and TCS, the driver turns the TCS page into
   * one, and calls may use the thread at once. Needs `"maxThreads"` above `"threads"` in enclave.json, and `threads` of
   * `load` to leave a gate free. Returns the number of threads.
   * @throws TCS_EXHAUSTED when no gate or no place is left; EnclaveStatusError, SgxIoctlError, EPC_EXHAUSTED
   */
  addThread(): number {
    this.usable();
    const gates = this.built.gateCount ?? this.built.threads;
    if (this.threads.length >= gates)
      throw sdkError(
        'TCS_EXHAUSTED',
        `all ${gates} gates of the enclave have a thread`,
        'load it with a larger threads option',
      );
    const { file } = this.built;
    const call = (command: number) => this.#callSync(command, EMPTY, 'adding a thread');
    const gate = addThread(file, call);
    this.add(this.#thread(gate));
    return this.threads.length;
  }

  /**
   * Gives heap that the enclave grew by and no longer uses back to the EPC. Returns the bytes.
   * @throws EnclaveStatusError, SgxIoctlError
   */
  trimHeap(): number {
    this.usable();
    return trimHeap(this.built.file, (command) => this.#callSync(command, EMPTY, 'trimming the heap'));
  }

  /**
   * Gives pages the type PT_TRIM, for an enclave that manages its memory itself: it accepts that with EACCEPT, and then
   * `removePages` takes them. Offset and length in bytes from BASEADDR, whole pages.
   * @throws SgxIoctlError
   */
  trimPages(offset: number, length: number): void {
    this.usable();
    this.built.file.modifyTypes({ offset, length, pageType: PT_TRIM });
  }

  /** Takes trimmed pages that the enclave has accepted. @throws SgxIoctlError */
  removePages(offset: number, length: number): void {
    this.usable();
    this.built.file.removePages({ offset, length });
  }

  /**
   * Leaves pages these permissions (SECINFO's R, W, X) of those they have; the enclave then accepts that.
   * @throws SgxIoctlError
   */
  restrictPages(offset: number, length: number, permissions: number): void {
    this.usable();
    this.built.file.restrictPermissions({ offset, length, permissions });
  }

  #thread(gate: number): EnclaveThread {
    return new EnclaveThread(this.#host, gate, this.gates.page(gate), this.gates.gate(gate));
  }

  #callSync(command: number, request: Uint8Array, what: string): Uint8Array {
    return this.withThread((thread) => thread.call(command, request, what));
  }

  #callAsync(command: number, request: Uint8Array, what: string): Promise<Uint8Array> {
    return this.withThreadAsync((thread) => thread.callAsync(command, request, what));
  }

  #functions(list: readonly FunctionDescription[], limit: number) {
    const sync: Record<string, unknown> = Object.create(null);
    const async: Record<string, unknown> = Object.create(null);
    const writer = new MessageWriter(limit);
    list.forEach((fn, index) => {
      const what = `ECALL ${fn.name}`;
      sync[fn.name] = (...args: unknown[]): unknown => {
        this.usable();
        return readResult(fn, this.#callSync(index, writeArguments(writer, fn, args), what));
      };
      async[fn.name] = async (...args: unknown[]): Promise<unknown> => {
        const request = writeArguments(writer, fn, args).slice();
        return readResult(fn, await this.#callAsync(index, request, what));
      };
    });
    return { sync: Object.freeze(sync), async: Object.freeze(async) };
  }
}

function unknownEcall(index: number): Error {
  return sdkError(
    'ECALL_UNKNOWN',
    `${index} is not the number of an ECALL`,
    'numbers are the positions in the interface',
  );
}
