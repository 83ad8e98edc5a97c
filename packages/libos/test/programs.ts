/** Small C programs, compiled once for each run of the tests. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'test', 'programs');

/** Where the programs of this run lie. */
export const folder = mkdtempSync(join(tmpdir(), 'nsgx-libos-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Compiles a program of test/programs; returns its path. */
export function compile(name: string, ...options: string[]): string {
  return compileWith('gcc', name, ...options);
}

/** As `compile`, with another compiler. */
export function compileWith(compiler: string, name: string, ...options: string[]): string {
  const out = join(folder, `${compiler}-${name.replace('/', '-')}${options.join('').replaceAll('/', '-')}`);
  execFileSync(compiler, ['-O2', '-w', ...options, join(SOURCES, `${name}.c`), '-lm', '-o', out]);
  return out;
}

/** A program that takes longer hangs. */
const LONGEST_MS = 90_000;

/** What a program does on this machine. */
export function native(path: string, args: readonly string[], env: Record<string, string> = {}, input = '') {
  const result = spawnSync(path, args, {
    encoding: 'utf8',
    env,
    input,
    timeout: LONGEST_MS,
    killSignal: 'SIGKILL',
  });
  const signals: Record<string, number> = { SIGABRT: 6, SIGPIPE: 13, SIGILL: 4, SIGSEGV: 11 };
  const status = result.signal === null ? (result.status ?? -1) : 128 + (signals[result.signal] ?? 0);
  return { status, stdout: result.stdout, stderr: result.stderr };
}
