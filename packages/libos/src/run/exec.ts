/** Running a program in an enclave. */
import type { SigningKey } from '@nestedsgx/image/node';
import { signImage } from '@nestedsgx/image/node';
import { type Cvm, type Enclave, EnclaveStatusError } from '@nestedsgx/sdk';
import { libosError } from '../errors.js';
import type { ProgramImage } from '../image/build.js';
import { Attention } from './attend.js';
import { attestationHandlers } from './attestation.js';
import { hostFacts, hostHandlers } from './host.js';
import { LIBOS_INTERFACE } from './interface.js';
import { HostMounts, type MountOptions, noMounts } from './mounts/host-mounts.js';
import { HostIo, type IoCounters, type Transport } from './net/host-io.js';
import type { NetMode } from './net/policy.js';
import { pageHandlers } from './pages.js';
import { type Provision, provisionHandlers } from './provision.js';
import { HostStore, noStore, type StoreOptions, type StoreVersion } from './store/host-store.js';
import { type ThreadSource, threadHandlers } from './threads.js';

/** TCSs of a program at most: LIBOS_THREADS of the native half, of which one attends to signals and timers, and two for commands. */
const MAX_THREADS = 66;

/** What EAUG adds at once: programs ask for memory in pieces of 132 KiB and more. */
const GROW_PAGES = 256;

/** What the library OS fails with when it does not start the program (native/src/start.c). */
const NOT_STARTED = 126;

/** How a program is run. */
export interface RunOptions {
  readonly argv: readonly string[];
  /** `NAME=VALUE`. */
  readonly environment?: readonly string[];
  /** Signs an image that is not signed. */
  readonly key?: string | Uint8Array | SigningKey;
  readonly descriptors?: readonly [number, number, number];
  readonly onNote?: (text: string) => void;
  readonly debug?: boolean;
  /** How requests leave the enclave. Default `ring`. */
  readonly io?: Transport;
  /** Which sockets of the host it may have. Default `all`. */
  readonly net?: NetMode;
  /** Folders of this machine for the mounts of the image; a mount without one has nothing (ENODEV). */
  readonly mounts?: readonly MountOptions[];
  /** Where an image that has a store keeps it. */
  readonly store?: StoreOptions;
  /** Of an image whose store has a key server's key: who carries messages to that server. */
  readonly provision?: Provision;
  /** Called when the program is about to run. */
  readonly onStart?: (program: RunningProgram) => void;
  /** Called when its first process is stopped, by SIGSTOP or a signal of job control; SIGCONT continues it. */
  readonly onStop?: () => void;
}

/** A program that runs. */
export interface RunningProgram {
  /**
   * Sends a signal to the program as if by process 0: to its first process, or, for those of a terminal's keys and its end, to
   * that process's group. `value` is the size of the terminal (rows << 16 | columns) for SIGWINCH. False when it cannot be sent.
   */
  signal(signal: number | NodeJS.Signals, value?: number): boolean;
}

/** How it ended. */
export interface RunResult {
  /** As a shell has it: 128 + n when a signal ended it. */
  readonly status: number;
  /** 64 hexadecimal digits. */
  readonly mrenclave: string;
  /** Exceptions that it handled: calls that trap, and memory that came with its first use. */
  readonly exceptions: number;
  /** Of these, system calls and other instructions that trap (#UD). */
  readonly traps: number;
  readonly ocalls: number;
  readonly io: IoCounters;
  /** The last commit of the store, if the image has one: what the next start may insist on. */
  readonly store?: StoreVersion;
}

function strings(list: readonly string[]): Uint8Array {
  return new TextEncoder().encode(list.map((text) => `${text}\0`).join(''));
}

/**
 * Signs (what is not signed), loads and runs a program; ends with it.
 * @throws PROGRAM_NOT_STARTED with the library OS's reason; the errors of `Cvm.load`, `signImage` and of the call (EnclaveFault, ENCLAVE_LOST, ENCLAVE_CRASHED)
 */
export async function runProgram(cvm: Cvm, program: ProgramImage, options: RunOptions): Promise<RunResult> {
  const sigstruct = program.image.sigstruct ?? signImage(program.image, options.key!, program.signOptions);
  const { descriptors } = options;
  const { connection } = await cvm.guest();
  let lastNote = 'what it was told to run with is not what its image allows';
  const onNote = (text: string): void => {
    lastNote = text;
    options.onNote?.(text);
  };
  const io = new HostIo(connection.memory, { descriptors, transport: options.io, net: options.net });
  const threads = new ProgramThreads();
  let left = true;
  let store: HostStore | undefined;
  let mounts: HostMounts | undefined;
  try {
    store = options.store && new HostStore(options.store, (fd) => io.grant(fd));
    mounts = options.mounts && new HostMounts(options.mounts, io);
    await using enclave = await cvm.load({ sgxs: program.image, sig: sigstruct }, LIBOS_INTERFACE, {
      ocalls: {
        ...hostHandlers({ root: program.root, descriptors, onNote }),
        ...threadHandlers(() => threads, threads.over.signal),
        ...threads.attention.handlers(),
        stopped: () => options.onStop?.(),
        ...pageHandlers(() => threads.enclave),
        ...io.handlers(),
        ...(store?.handlers() ?? noStore),
        ...(mounts?.handlers() ?? noMounts),
        ...attestationHandlers(connection),
        ...provisionHandlers(options.provision, onNote),
      },
      driver: io.driver(LIBOS_INTERFACE.ocalls.findIndex(({ name }) => name === 'host_io')),
      ocallBufferBytes: 192 * 1024,
      threads: MAX_THREADS,
      debug: options.debug,
      address: program.address,
      hostDescriptors: options.io === 'gate',
      offerInterrupts: true,
      growPages: GROW_PAGES,
    });
    if (enclave.grantSocket !== null) io.grantOver(enclave.grantSocket);
    threads.enclave = enclave;
    left = false;
    try {
      options.onStart?.(threads.attention);
      const status = await threads.first(
        strings(options.argv),
        strings(options.environment ?? []),
        hostFacts(descriptors),
      );
      const { exceptions, ocalls, aex } = enclave.stats();
      const traps = aex['#UD'] ?? 0;
      const mrenclave = Buffer.from(enclave.mrenclave).toString('hex');
      return { status, mrenclave, exceptions, traps, ocalls, io: io.counters(), store: store?.version };
    } catch (error) {
      throw error instanceof EnclaveStatusError && error.failure === NOT_STARTED
        ? notStarted(lastNote, error)
        : error;
    } finally {
      threads.attention.stop();
      threads.over.abort();
      io.stop();
      await enclave.close();
      left = enclave.running === 0;
    }
  } finally {
    store?.close();
    mounts?.close();
    // A thread that does not come back may still use it.
    if (left) io.close();
  }
}

function notStarted(reason: string, cause: Error): Error {
  return libosError('PROGRAM_NOT_STARTED', `the program was not started: ${reason}`, {
    cause,
    advice: 'What was noted before says more; docs/TROUBLESHOOTING.md says what to do.',
  });
}

/** The threads of a program, each inside on a TCS of its own. */
class ProgramThreads implements ThreadSource {
  /** Set before the program starts. */
  enclave!: Enclave<typeof LIBOS_INTERFACE>;
  readonly attention: Attention;
  /** Aborted once the program has ended. */
  readonly over = new AbortController();
  #inside = 1;
  #over!: (status: number) => void;
  #failed!: (error: unknown) => void;

  constructor() {
    this.attention = new Attention(
      {
        attend: (signal, value) => this.enclave.async.attend(signal, value),
        interrupt: () => this.enclave.interrupt(),
        taken: () => this.enclave.interruptsTaken,
      },
      (error) => this.failed(error),
    );
  }

  /** Runs the program; gives its status. */
  first(argv: Uint8Array, environment: Uint8Array, facts: Uint8Array): Promise<number> {
    const ended = new Promise<number>((resolve, reject) => {
      this.#over = resolve;
      this.#failed = reject;
    });
    this.enclave.async.run(argv, environment, facts).then(this.#over, this.#failed);
    return ended;
  }

  run(slot: number): Promise<unknown> {
    // Two are kept free: for commands, with which further ones are made, and for attention.
    while (this.enclave.stats().threads < this.#inside + 3) this.enclave.addThread();
    this.#inside++;
    return this.enclave.async.thread(slot).finally(() => {
      this.#inside--;
    });
  }

  failed(error: unknown): void {
    this.#failed(error);
  }

  exited(status: number): void {
    this.#over(status);
  }
}
