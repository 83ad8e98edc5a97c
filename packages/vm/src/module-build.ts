/** Building the guest module for a kernel: out of tree, in a copy of its sources that is kept as long as they stay equal. */
import { createHash, randomBytes } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { vmError } from './errors.js';
import { PRIVATE, runProgram } from './host/commands.js';
import type { GuestKernel } from './host/kernels.js';
import type { Progress } from './host/packages.js';
import { findProgram } from './host/programs.js';
import { provideHeaders } from './host/requirements.js';

/** This package, wherever it is installed. */
export const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SOURCES = /^(?:Kbuild|Makefile|.*\.[chS])$/;
/** The layouts shared with the monitor and the runner, made by the cpu package's build. */
const LAYOUT_HEADER = 'layout.h';

/** Where a module's sources lie, what it is called, and the layout header that is put beside them. */
export interface ModuleSources {
  name: string;
  folder: string;
  layout: string;
}

export function moduleSources(): ModuleSources {
  return {
    name: 'nsgx',
    folder: join(PACKAGE, 'module'),
    layout: join(PACKAGE, '..', 'cpu', 'native', 'build', LAYOUT_HEADER),
  };
}

/** What a hostile kernel has beside {@link moduleSources}. */
export function attackModuleSources(): ModuleSources {
  return { ...moduleSources(), name: 'nsgx_attack', folder: join(PACKAGE, 'attack-module') };
}

/** A digest of all that goes into the module but the compiler. */
export function sourceDigest(sources: ModuleSources): string {
  const hash = createHash('sha256');
  for (const name of sourceFiles(sources.folder)) {
    const bytes = readFileSync(join(sources.folder, name));
    hash.update(`${name}\0${bytes.length}\0`).update(bytes);
  }
  if (existsSync(sources.layout)) hash.update(readFileSync(sources.layout));
  return hash.digest('hex');
}

/**
 * Path of the module (by default nsgx.ko) for this kernel, built if that has not been done for these sources.
 * @throws VM_PART_MISSING without sources, VM_HEADERS_MISSING, VM_DOWNLOAD_FAILED, VM_PROGRAM_MISSING, VM_MODULE_BUILD
 *   (with the compiler's words in `output`)
 */
export async function buildModule(
  kernel: GuestKernel,
  cache: string,
  progress: Progress,
  sources: ModuleSources = moduleSources(),
): Promise<string> {
  if (!existsSync(sources.folder))
    throw vmError(
      'VM_PART_MISSING',
      `the sources of the guest module are not at ${sources.folder}`,
      'reinstall the package',
    );
  const headers = await provideHeaders(cache, kernel, progress);
  const folder = join(cache, 'modules', `${kernel.version}-${sourceDigest(sources).slice(0, 16)}`);
  const file = `${sources.name}.ko`;
  const built = join(folder, file);
  if (existsSync(built)) return built;
  progress(`building the guest module for kernel ${kernel.version}`);
  for (const program of ['make', 'gcc', 'strip'] as const) findProgram(program);
  const work = `${folder}.${process.pid}-${randomBytes(4).toString('hex')}`;
  mkdirSync(work, { recursive: true, mode: PRIVATE });
  try {
    copySources(sources, work);
    await compile(headers, work, kernel, file);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: PRIVATE });
    copyFileSync(join(work, file), `${built}.new`);
    renameSync(`${built}.new`, built);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return built;
}

async function compile(headers: string, work: string, kernel: GuestKernel, file: string): Promise<void> {
  const make = await runProgram('make', ['-C', headers, `M=${work}`, 'modules']);
  const result = existsSync(join(work, file)) ? make : { ...make, status: make.status || 1 };
  if (result.error || result.status !== 0) throw buildError(kernel, result.output, result.error);
  // Debug information is ten times the module; the guest reads all of it at boot.
  const strip = await runProgram('strip', ['--strip-debug', join(work, file)]);
  if (strip.error || strip.status !== 0) throw buildError(kernel, strip.output, strip.error);
}

function buildError(kernel: GuestKernel, output: string, cause?: Error): Error {
  const error = vmError(
    'VM_MODULE_BUILD',
    `the guest module does not compile for kernel ${kernel.version}`,
    'see what the compiler says; the headers must be of the same version as the kernel',
    cause,
  );
  return Object.assign(error, { output: output.slice(-8000) });
}

function copySources(sources: ModuleSources, to: string): void {
  for (const name of sourceFiles(sources.folder)) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    cpSync(join(sources.folder, name), join(to, name));
  }
  if (existsSync(sources.layout)) copyFileSync(sources.layout, join(to, LAYOUT_HEADER));
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => SOURCES.test(path.replace(/^.*\//, '')) && !path.endsWith('.mod.c'))
    .sort();
}
