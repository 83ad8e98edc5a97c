/**
 * Builds the trusted half: the core from AssemblyScript to WebAssembly to C (asc, wasm2c), and with the native half to
 * an enclave without a program (build/enclave/build/libos.elf), which images are made of.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildEnclave, runtimeDigest } from '@nestedsgx/enclave';
import { libosError } from '../errors.js';
import { LIBOS_INTERFACE } from '../run/interface.js';
import { dispatchSource } from '../syscalls/dispatch.js';

/** The package's folder. */
export const PACKAGE_DIR = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const PROJECT = join(PACKAGE_DIR, 'build', 'enclave');

/** The linked library OS. */
export const KERNEL_PATH = join(PROJECT, 'build', 'libos.elf');
const STAMP = join(PROJECT, 'stamp');
const INTERFACE = JSON.stringify(LIBOS_INTERFACE);

function writeIfChanged(path: string, text: string): void {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
}

/** The folder of a package's main file. */
function folderOf(name: string): string {
  return dirname(fileURLToPath(import.meta.resolve(name)));
}

/** Runs a JavaScript tool of another package in its own process. */
function tool(name: string, entry: string, args: readonly string[]): void {
  const result = spawnSync(process.execPath, [entry, ...args], { cwd: PACKAGE_DIR, encoding: 'utf8' });
  if (result.status !== 0)
    throw libosError(
      'KERNEL_BUILD_FAILED',
      `${name} failed: ${`${result.stderr}${result.stdout}`.slice(0, 4000)}`,
      {
        advice: 'Run npm ci; then correct the source that it names.',
      },
    );
}

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function inputDigest(): string {
  const hash = createHash('sha256').update(runtimeDigest()).update(INTERFACE);
  for (const dir of ['core', 'native'])
    for (const file of filesBelow(join(PACKAGE_DIR, dir))) hash.update(file).update(readFileSync(file));
  return hash.digest('hex');
}

/** Builds what changed. @throws KERNEL_BUILD_FAILED and the errors of `buildEnclave` */
export async function buildKernel(): Promise<void> {
  const generated = join(PACKAGE_DIR, 'core', 'generated');
  mkdirSync(generated, { recursive: true });
  writeIfChanged(join(generated, 'dispatch.ts'), dispatchSource());
  const digest = inputDigest();
  if (existsSync(STAMP) && existsSync(KERNEL_PATH) && readFileSync(STAMP, 'utf8') === digest) return;

  const sources = join(PROJECT, 'src');
  // What was removed must not be found by an #include.
  for (const folder of ['src', 'include']) rmSync(join(PROJECT, folder), { recursive: true, force: true });
  mkdirSync(sources, { recursive: true });
  cpSync(join(PACKAGE_DIR, 'native'), PROJECT, { recursive: true });
  writeFileSync(join(PROJECT, 'interface.json'), INTERFACE);
  const wasm = join(PROJECT, 'core.wasm');
  tool('asc', join(folderOf('assemblyscript/asc'), '..', 'bin', 'asc.js'), [
    ...['core/index.ts', '-O3', '--runtime', 'minimal', '--use', 'abort=', '--noColors', '-o', wasm],
  ]);
  const c = join(PROJECT, 'core.c');
  tool('wasm2c', join(folderOf('wabt'), 'bin', 'wasm2c'), [wasm, '-n', 'core', '-o', c]);
  renameSync(c, join(sources, 'core.c'));
  renameSync(join(PROJECT, 'core.h'), join(sources, 'core.h'));
  await buildEnclave({ dir: PROJECT });
  writeFileSync(STAMP, digest);
}
