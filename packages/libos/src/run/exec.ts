/** Running a program in an enclave. */
import type { SigningKey } from '@nestedsgx/image/node';
import { signImage } from '@nestedsgx/image/node';
import type { Cvm } from '@nestedsgx/sdk';
import type { ProgramImage } from '../image/build.js';
import { hostFacts, hostHandlers } from './host.js';
import { type ThreadSource, threadHandlers } from './threads.js';

/** TCSs of a program at most: LIBOS_THREADS of the native half, and one for commands. */
const MAX_THREADS = 66;

/** The interface of native/interface.json. */
export const LIBOS_INTERFACE = Object.freeze({
  ecalls: [
    {
      name: 'run',
      params: [
        { name: 'argv', type: 'bytes' },
        { name: 'envp', type: 'bytes' },
        { name: 'host', type: 'bytes' },
      ],
      returns: 'i32',
    },
    { name: 'thread', params: [{ name: 'slot', type: 'u32' }], returns: 'i32' },
  ],
  ocalls: [
    {
      name: 'host_write',
      params: [
        { name: 'fd', type: 'u32' },
        { name: 'data', type: 'bytes' },
      ],
      returns: 'i64',
    },
    {
      name: 'host_read',
      params: [
        { name: 'fd', type: 'u32' },
        { name: 'length', type: 'u32' },
      ],
      returns: 'bytes',
    },
    {
      name: 'root_read',
      params: [
        { name: 'offset', type: 'u64' },
        { name: 'length', type: 'u32' },
      ],
      returns: 'bytes',
    },
    { name: 'host_clock', params: [], returns: 'bytes' },
    {
      name: 'host_wait',
      params: [
        { name: 'fds', type: 'u32' },
        { name: 'timeout_ms', type: 'i64' },
      ],
      returns: 'u32',
    },
    { name: 'note', params: [{ name: 'text', type: 'bytes' }], returns: 'void' },
    {
      name: 'park',
      params: [
        { name: 'slot', type: 'u32' },
        { name: 'timeout_ns', type: 'i64' },
      ],
      returns: 'void',
    },
    { name: 'unpark', params: [{ name: 'slot', type: 'u32' }], returns: 'void' },
    { name: 'start_thread', params: [{ name: 'slot', type: 'u32' }], returns: 'i32' },
    { name: 'exit', params: [{ name: 'status', type: 'u32' }], returns: 'void' },
  ],
} as const);

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
}

/** How it ended. */
export interface RunResult {
  /** As a shell has it: 128 + n when a signal ended it. */
  readonly status: number;
  /** 64 hexadecimal digits. */
  readonly mrenclave: string;
  readonly exceptions: number;
  readonly ocalls: number;
}

function strings(list: readonly string[]): Uint8Array {
  return new TextEncoder().encode(list.map((text) => `${text}\0`).join(''));
}

/**
 * Signs (what is not signed), loads and runs a program; ends with it.
 * @throws the errors of `Cvm.load`, `signImage` and of the call (EnclaveFault, ENCLAVE_LOST, ENCLAVE_CRASHED)
 */
export async function runProgram(cvm: Cvm, program: ProgramImage, options: RunOptions): Promise<RunResult> {
  const sigstruct = program.image.sigstruct ?? signImage(program.image, options.key!, program.signOptions);
  const { descriptors } = options;
  let over!: (status: number) => void;
  let failed!: (error: unknown) => void;
  const ended = new Promise<number>((resolve, reject) => {
    over = resolve;
    failed = reject;
  });
  let threads: ThreadSource | undefined;
  await using enclave = await cvm.load({ sgxs: program.image, sig: sigstruct }, LIBOS_INTERFACE, {
    ocalls: {
      ...hostHandlers({ root: program.root, descriptors, onNote: options.onNote }),
      ...threadHandlers(() => threads!),
    },
    ocallBufferBytes: 192 * 1024,
    threads: MAX_THREADS,
    debug: options.debug,
  });
  let inside = 1;
  threads = {
    run(slot) {
      // One is kept free for commands, with which further ones are made.
      while (enclave.stats().threads < inside + 2) enclave.addThread();
      inside++;
      return enclave.async.thread(slot).finally(() => {
        inside--;
      });
    },
    failed,
    exited: over,
  };
  const first = enclave.async.run(
    strings(options.argv),
    strings(options.environment ?? []),
    hostFacts(descriptors),
  );
  first.then(over, failed);
  const status = await ended;
  const { exceptions, ocalls } = enclave.stats();
  return { status, mrenclave: Buffer.from(enclave.mrenclave).toString('hex'), exceptions, ocalls };
}
