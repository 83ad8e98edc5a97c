/** Compiling and linking: the runtime and its cryptography (kept between builds), the bridges, the author's sources. */
import { createHash } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompileError, enclaveError } from './errors.js';
import { linkScript } from './link-script.js';
import { run, type Toolchain } from './toolchain.js';

/** The package's folder: native/, samples/, templates/. */
export const PACKAGE_DIR = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const NATIVE = join(PACKAGE_DIR, 'native');
const CRYPTO = join(PACKAGE_DIR, '..', '..', 'third_party', 'bearssl');

/** Name and version of the cryptography linked into enclaves. */
export const CRYPTO_VERSION = 'BearSSL 0.6';
/** Version of the trusted runtime. */
export const RUNTIME_VERSION = '1';

const COMMON_FLAGS = [
  '-O2',
  '-fPIE',
  '-ffreestanding',
  '-nostdinc',
  '-fvisibility=hidden',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-fno-unwind-tables',
  '-ffunction-sections',
  '-fdata-sections',
  '-fno-ident',
  '-fno-plt',
  '-U_FORTIFY_SOURCE',
];
const PROTECTED = ['-fstack-protector-strong', '-fstack-clash-protection'];

/** One translation unit. */
interface Unit {
  /** As gcc gets it; relative to `cwd`. */
  readonly source: string;
  readonly object: string;
  readonly flags: readonly string[];
  readonly cwd: string;
}

/** Where gcc's diagnostics go and what they were. */
export interface CompileOutput {
  /** Object files in link order. */
  readonly objects: readonly string[];
  /** Warnings of the author's sources, as gcc wrote them. */
  readonly warnings: string;
}

function filesBelow(dir: string, suffix: RegExp): string[] {
  const found: string[] = [];
  const walk = (relative: string) => {
    for (const entry of readdirSync(join(dir, relative), { withFileTypes: true })) {
      const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) {
        if (path !== 'build') walk(path);
      } else if (suffix.test(entry.name)) found.push(path);
    }
  };
  walk('');
  return found.sort();
}

function includes(toolchain: Toolchain): string[] {
  return [
    '-isystem',
    join(NATIVE, 'include/libc'),
    '-isystem',
    toolchain.includeDir,
    '-I',
    join(NATIVE, 'include'),
  ];
}

function prefixMaps(...maps: [string, string][]): string[] {
  return maps.map(([from, to]) => `-ffile-prefix-map=${from}=${to}`);
}

/** The first diagnostic that is an error, for the one-sentence message. */
function firstError(output: string): string {
  const line = output
    .split('\n')
    .find((text) => /(?:fatal )?error:|undefined reference|multiple definition/.test(text));
  return (line ?? output.split('\n')[0] ?? '').trim();
}

async function compileUnit(toolchain: Toolchain, unit: Unit): Promise<string> {
  const result = await run(toolchain.gcc, ['-c', ...unit.flags, unit.source, '-o', unit.object], unit.cwd);
  if (result.code !== 0) {
    throw new CompileError(
      'COMPILE_FAILED',
      `gcc refused ${unit.source}: ${firstError(result.stderr)}`,
      result.stderr,
      'Correct the source at the line that gcc names; its full output is below.',
    );
  }
  return result.stderr;
}

/** Compiles units with as many gcc at once as there are CPUs; the first error in unit order is thrown. */
async function compileAll(toolchain: Toolchain, units: readonly Unit[]): Promise<string[]> {
  const output: string[] = new Array(units.length).fill('');
  const errors: unknown[] = new Array(units.length).fill(undefined);
  let next = 0;
  const worker = async () => {
    while (next < units.length) {
      const i = next++;
      try {
        output[i] = await compileUnit(toolchain, units[i]);
      } catch (error) {
        errors[i] = error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(units.length, availableParallelism(), 8) }, worker));
  for (const error of errors) if (error !== undefined) throw error;
  return output;
}

function runtimeUnits(toolchain: Toolchain, objects: string): Unit[] {
  const maps = prefixMaps([NATIVE, 'nsgx'], [CRYPTO, 'bearssl']);
  const shared = [...COMMON_FLAGS, '-std=c11', ...includes(toolchain), ...maps];
  const units: Unit[] = [];
  for (const source of filesBelow(join(NATIVE, 'runtime'), /\.(c|S)$/)) {
    units.push({
      source: join('runtime', source),
      object: join(objects, `runtime-${source.replaceAll('/', '-')}.o`),
      flags: [
        ...shared,
        ...PROTECTED,
        '-fno-tree-loop-distribute-patterns',
        '-Wall',
        '-Wextra',
        '-Werror',
        '-I',
        'runtime',
        '-I',
        join(CRYPTO, 'inc'),
      ],
      cwd: NATIVE,
    });
  }
  for (const source of filesBelow(join(CRYPTO, 'src'), /\.c$/)) {
    units.push({
      source: join('src', source),
      object: join(objects, `crypto-${source.replaceAll('/', '-')}.o`),
      flags: [...shared, ...PROTECTED, '-I', join(CRYPTO, 'inc'), '-I', join(CRYPTO, 'src')],
      cwd: CRYPTO,
    });
  }
  return units;
}

/** SHA-256 over every source file of the runtime and its cryptography, and the options they are compiled with. */
export function runtimeDigest(): string {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([COMMON_FLAGS, PROTECTED, linkScript(1)]));
  for (const [root, name] of [
    [join(NATIVE, 'include'), 'include'],
    [join(NATIVE, 'runtime'), 'runtime'],
    [CRYPTO, 'crypto'],
  ]) {
    for (const file of filesBelow(root, /\.(c|h|S)$/)) {
      const bytes = readFileSync(join(root, file));
      hash.update(`${name}/${file} ${bytes.length}\n`).update(bytes);
    }
  }
  return hash.digest('hex');
}

/**
 * Objects of the runtime. They are kept in native/build under a name made of the toolchain and all inputs, so a later
 * build takes them as they are; where that folder cannot be written they are made in `scratch`.
 */
async function runtimeObjects(toolchain: Toolchain, scratch: string): Promise<string[]> {
  const key = createHash('sha256')
    .update(JSON.stringify([toolchain.gccVersion, toolchain.ldVersion, runtimeDigest()]))
    .digest('hex')
    .slice(0, 32);
  const kept = join(NATIVE, 'build', `runtime-${key}`);
  const names = (dir: string) => runtimeUnits(toolchain, dir).map((unit) => unit.object);
  // Looked into, not just at: another account may have made it for itself.
  if (names(kept).every((object) => readable(object))) return names(kept);
  let work: string;
  let keep = true;
  try {
    mkdirSync(join(NATIVE, 'build'), { recursive: true });
    work = mkdtempSync(join(NATIVE, 'build', 'new-'));
  } catch {
    work = join(scratch, 'runtime');
    mkdirSync(work);
    keep = false;
  }
  try {
    await compileAll(toolchain, runtimeUnits(toolchain, work));
  } catch (error) {
    if (keep) rmSync(work, { recursive: true, force: true });
    throw error;
  }
  if (!keep) return names(work);
  try {
    chmodSync(work, 0o755);
    renameSync(work, kept);
  } catch {
    // Another build finished the same objects first.
    if (!names(kept).every((object) => readable(object))) return names(work);
    rmSync(work, { recursive: true, force: true });
  }
  return names(kept);
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** How an enclave talks to its host: typed messages of interface.json, or the structures of Intel's SDK. */
export type Protocol = 'messages' | 'edl';

/** What {@link compileEnclave} compiles. */
export interface CompileInput {
  readonly dir: string;
  readonly sources: readonly string[];
  readonly cflags: readonly string[];
  /** Folder with the files made from the interface. */
  readonly generated: string;
  /** The one of them that is compiled. */
  readonly bridges: string;
  readonly protocol: Protocol;
  /** Folders with the author's headers, relative to `dir`. */
  readonly includes?: readonly string[];
  /** An existing folder for temporary objects. */
  readonly scratch: string;
}

/** Room for the metadata of Intel's format, which are written when the file is linked. */
export const METADATA_ROOM = 8192;

function metadataUnit(scratch: string): Unit {
  const source = join(scratch, 'metadata.S');
  writeFileSync(source, `.section .note.sgxmeta, "", @note\n.zero ${METADATA_ROOM}\n`);
  return { source, object: join(scratch, 'metadata.o'), flags: [], cwd: scratch };
}

/** Compiles runtime, bridges and sources. Throws COMPILE_FAILED. */
export async function compileEnclave(toolchain: Toolchain, input: CompileInput): Promise<CompileOutput> {
  const other = input.protocol === 'messages' ? 'runtime-edl-' : 'runtime-messages-';
  const runtime = (await runtimeObjects(toolchain, input.scratch)).filter(
    (object) => !basename(object).startsWith(other),
  );
  const maps = prefixMaps([NATIVE, 'nsgx'], [input.generated, 'generated'], [input.dir, '.']);
  const shared = [
    ...COMMON_FLAGS,
    ...PROTECTED,
    '-std=gnu11',
    ...includes(toolchain),
    '-I',
    input.generated,
    ...(input.includes ?? []).flatMap((folder) => ['-I', join(input.dir, folder)]),
    ...maps,
  ];
  const bridges: Unit = {
    source: input.bridges,
    object: join(input.scratch, 'bridges.o'),
    flags: [...shared, '-Wall', '-Wextra', '-Werror'],
    cwd: input.generated,
  };
  const authors = input.sources.map(
    (source): Unit => ({
      source,
      object: join(input.scratch, `source-${source.replaceAll('/', '-')}.o`),
      flags: [...shared, '-Wall', '-Wextra', ...input.cflags],
      cwd: input.dir,
    }),
  );
  const format = input.protocol === 'edl' ? [metadataUnit(input.scratch)] : [];
  const output = await compileAll(toolchain, [...format, bridges, ...authors]);
  return {
    objects: [...runtime, ...[...format, bridges, ...authors].map((unit) => unit.object)],
    warnings: output.slice(format.length + 1).join(''),
  };
}

/**
 * The work of the kernels in samples/kernels, compiled as for an enclave and linked into a shared library, as the
 * baseline of measurements. It exports `uint64_t nsgx_kernel_compute_work(uint64_t iterations)` and
 * `uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds)`. Returns `out`.
 *
 * Throws COMPILE_FAILED and LINK_FAILED.
 */
export async function buildOutsideKernels(toolchain: Toolchain, out: string): Promise<string> {
  const dir = join(PACKAGE_DIR, 'samples');
  const object = `${out}.o`;
  const flags = [
    ...COMMON_FLAGS,
    ...PROTECTED,
    '-std=gnu11',
    ...includes(toolchain),
    ...prefixMaps([dir, '.']),
  ];
  await compileUnit(toolchain, { source: 'kernels/work.c', object, flags, cwd: dir });
  const result = await run(toolchain.gcc, ['-shared', '-nostdlib', '-Wl,--build-id=none', object, '-o', out]);
  rmSync(object, { force: true });
  if (result.code !== 0) {
    throw new CompileError(
      'LINK_FAILED',
      `the linker refused the kernels: ${firstError(result.stderr)}`,
      result.stderr,
      'Check the installation of gcc and binutils.',
    );
  }
  return out;
}

/** Links objects into a static, position-independent file. Throws LINK_FAILED. */
export async function linkEnclave(
  toolchain: Toolchain,
  objects: readonly string[],
  scratch: string,
  out: string,
  emptyPages = 1,
): Promise<void> {
  const script = join(scratch, 'enclave.ld');
  writeFileSync(script, linkScript(emptyPages));
  const result = await run(toolchain.gcc, [
    '-nostdlib',
    '-static-pie',
    '-fno-lto',
    `-Wl,-T,${script}`,
    '-Wl,--build-id=none',
    '-Wl,--gc-sections',
    '-Wl,--no-undefined',
    '-Wl,--hash-style=gnu',
    '-Wl,-z,noexecstack',
    '-Wl,-z,text',
    '-Wl,-z,norelro',
    '-Wl,-z,max-page-size=4096',
    ...objects,
    '-lgcc',
    '-o',
    out,
  ]);
  if (result.code !== 0) {
    throw new CompileError(
      'LINK_FAILED',
      `the linker refused the enclave: ${firstError(result.stderr)}`,
      result.stderr,
      'Define every ECALL of the interface, and call only functions that nsgx.h and its string, stdlib and stdio offer.',
    );
  }
}

/** A typed error when a linked file cannot be read back. */
export function readLinked(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw enclaveError('PROJECT_FILE', `cannot read ${path}`, { cause });
  }
}
