/** Programs of Intel's SDK in its simulation mode: the same sources without isolation, run beside the enclaves. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const LIMIT_MS = 300_000;

/** The folder with the programs: `bench`, `hashjoin/app`, `sqlite/app`, `nbench/app_quick` or `nbench/app`. */
export class Simulation {
  readonly #folder: string;

  /** @param folder from which LD_LIBRARY_PATH must be right for the SDK's simulation libraries, if they are not installed */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The first of these files that is there, relative to the folder. */
  has(...paths: string[]): string | undefined {
    return paths.find((path) => existsSync(join(this.#folder, path)));
  }

  /** A file of the folder as text, if it is there. */
  read(path: string): string | undefined {
    return this.has(path) === undefined ? undefined : readFileSync(join(this.#folder, path), 'latin1');
  }

  /** What a program in `directory` writes to standard output and standard error. @throws when it fails */
  run(directory: string, program: string, args: readonly string[] = []): string {
    const cwd = join(this.#folder, directory);
    const command = '"$0" "$@" 2>&1';
    return execFileSync('/bin/sh', ['-c', command, `./${program}`, ...args], {
      cwd,
      encoding: 'latin1',
      timeout: LIMIT_MS,
      maxBuffer: 2 ** 26,
    });
  }

  /** A number in what a program wrote. @throws when it is not there */
  number(text: string, pattern: RegExp): number {
    const found = Number(pattern.exec(text)?.[1]);
    if (!(found > 0))
      throw new Error(`a program in simulation mode did not write ${pattern.source}: ${text.slice(-200)}`);
    return found;
  }

  /** Medians in cycles that `bench` writes as lines `NAME median N cycles`. */
  medians(): Map<string, number> {
    const text = this.run('.', 'bench', ['bench.signed.so']);
    const lines = text.matchAll(/^(.+?)\s+median\s+(\d+) cycles/gm);
    return new Map(Array.from(lines, ([, name = '', cycles]) => [name.trim(), Number(cycles)]));
  }
}
