/** Running programs in enclaves of one confidential VM, with what they write. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { Cvm, type Enclave } from '@nestedsgx/sdk';
import {
  LIBOS_INTERFACE,
  type ProgramImage,
  type RunOptions,
  type RunResult,
  runProgram,
} from '../src/index.js';
import { hostFacts, hostHandlers } from '../src/run/host.js';
import { HostIo } from '../src/run/net/host-io.js';
import { pageHandlers } from '../src/run/pages.js';

/** A program that takes longer hangs: it is ended, so that its test shows how far it came. */
const LONGEST_MS = process.env.NSGX_SOAK === '1' ? 0 : 90_000;

/** How a program ended, and what it wrote. */
export interface Ran extends RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly notes: readonly string[];
}

/** A machine, a key, and a folder that goes with them. */
export class Inside implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'nsgx-inside-'));
  readonly #cvm: Cvm;
  readonly #key: string;

  private constructor(cvm: Cvm, key: string) {
    this.#cvm = cvm;
    this.#key = key;
  }

  /** @param options of the machine */
  static async open(options: Parameters<typeof Cvm.launch>[0] = {}): Promise<Inside> {
    const [cvm, { privateKeyPem }] = await Promise.all([Cvm.launch(options), generateKey()]);
    return new Inside(cvm, privateKeyPem);
  }

  /** The machine's process. */
  get pid(): number {
    return this.#cvm.pid as number;
  }

  /** Runs an image with files for its descriptors. @throws the errors of `runProgram` */
  async run(
    image: ProgramImage,
    argv: readonly string[],
    environment: readonly string[] = [],
    input: string | Uint8Array = '',
    more: Partial<RunOptions> = {},
  ): Promise<Ran> {
    const at = mkdtempSync(join(this.folder, 'run-'));
    const file = (name: string) => join(at, name);
    writeFileSync(file('in'), input);
    const descriptors = [
      openSync(file('in'), 'r'),
      openSync(file('out'), 'w'),
      openSync(file('err'), 'w'),
    ] as const;
    const notes: string[] = [];
    let watchdog: NodeJS.Timeout | undefined;
    try {
      const result = await runProgram(this.#cvm, image, {
        ...{ argv, environment, key: this.#key, descriptors: [...descriptors] },
        ...more,
        onNote: (text) => notes.push(text),
        onStart: (program) => {
          if (LONGEST_MS > 0)
            watchdog = setTimeout(() => {
              notes.push(`ended after ${LONGEST_MS} ms`);
              program.signal('SIGKILL');
            }, LONGEST_MS);
          more.onStart?.(program);
        },
      });
      const stdout = readFileSync(file('out'), 'latin1');
      return { ...result, stdout, stderr: readFileSync(file('err'), 'latin1'), notes };
    } finally {
      clearTimeout(watchdog);
      for (const fd of descriptors) closeSync(fd);
      rmSync(at, { recursive: true, force: true });
    }
  }

  /** Runs a program of one thread for a host that answers some calls itself; what it writes. */
  async deceive(
    image: ProgramImage,
    argv: readonly string[],
    handlers: Partial<Record<(typeof LIBOS_INTERFACE.ocalls)[number]['name'], unknown>>,
  ): Promise<{ readonly status: number; readonly stdout: string; readonly notes: readonly string[] }> {
    const at = mkdtempSync(join(this.folder, 'run-'));
    const out = openSync(join(at, 'out'), 'w');
    const descriptors = [openSync('/dev/null', 'r'), out, out] as const;
    const notes: string[] = [];
    const { connection } = await this.#cvm.guest();
    const io = new HostIo(connection.memory, { descriptors, transport: 'ocall' });
    let loaded: Enclave<typeof LIBOS_INTERFACE>;
    try {
      await using enclave = await this.#cvm.load(
        { sgxs: image.image, sig: signImage(image.image, this.#key, image.signOptions) },
        LIBOS_INTERFACE,
        {
          ocalls: {
            ...hostHandlers({ root: image.root, onNote: (text) => notes.push(text) }),
            ...io.handlers(),
            ...pageHandlers(() => loaded),
            ...handlers,
          } as never,
          ocallBufferBytes: 192 * 1024,
        },
      );
      loaded = enclave;
      const arguments_ = new TextEncoder().encode(argv.map((text) => `${text}\0`).join(''));
      const status = enclave.ecalls.run(arguments_, new Uint8Array(0), hostFacts(descriptors)) as number;
      return { status, stdout: readFileSync(join(at, 'out'), 'latin1'), notes };
    } finally {
      io.stop();
      io.close();
      for (const fd of new Set(descriptors)) closeSync(fd);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cvm.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
