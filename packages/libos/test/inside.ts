/** Running programs in enclaves of one confidential VM, with what they write. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKey } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { type ProgramImage, type RunResult, runProgram } from '../src/index.js';

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

  static async open(): Promise<Inside> {
    const [cvm, { privateKeyPem }] = await Promise.all([Cvm.launch(), generateKey()]);
    return new Inside(cvm, privateKeyPem);
  }

  /** Runs an image with files for its descriptors. @throws the errors of `runProgram` */
  async run(
    image: ProgramImage,
    argv: readonly string[],
    environment: readonly string[] = [],
    input: string | Uint8Array = '',
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
    try {
      const result = await runProgram(this.#cvm, image, {
        ...{ argv, environment, key: this.#key, descriptors: [...descriptors] },
        onNote: (text) => notes.push(text),
      });
      const stdout = readFileSync(file('out'), 'latin1');
      return { ...result, stdout, stderr: readFileSync(file('err'), 'latin1'), notes };
    } finally {
      for (const fd of descriptors) closeSync(fd);
      rmSync(at, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cvm.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
