/** Running a program in an enclave. */
import type { SigningKey } from '@nestedsgx/image/node';
import { signImage } from '@nestedsgx/image/node';
import type { Cvm } from '@nestedsgx/sdk';
import type { ProgramImage } from '../image/build.js';
import { hostFacts, hostHandlers } from './host.js';

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
  await using enclave = await cvm.load({ sgxs: program.image, sig: sigstruct }, LIBOS_INTERFACE, {
    ocalls: hostHandlers({ root: program.root, descriptors, onNote: options.onNote }),
    ocallBufferBytes: 512 * 1024,
    debug: options.debug,
  });
  const status = enclave.ecalls.run(
    strings(options.argv),
    strings(options.environment ?? []),
    hostFacts(descriptors),
  );
  const { exceptions, ocalls } = enclave.stats();
  return { status, mrenclave: Buffer.from(enclave.mrenclave).toString('hex'), exceptions, ocalls };
}
