/** From a program to all the files it needs: interpreter, libraries, their folders and links. */
import { lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isElf, type Program, readProgram } from '../elf/program.js';
import { libosError } from '../errors.js';
import type { RootEntry } from './manifest.js';

/** Where Debian's glibc and musl look. */
const LIBRARY_FOLDERS = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
  '/usr/local/lib',
];
const MAX_FILE = 2 ** 30;
const MAX_LINKS = 40;

/** A program or shared object among the files. */
export interface Binary {
  /** Its path in the root, links resolved. */
  readonly path: string;
  readonly program: Program;
}

/** What was collected. */
export interface Collected {
  readonly main: Binary;
  readonly interpreter?: Binary;
  /** All binaries, `main` and `interpreter` among them. */
  readonly binaries: readonly Binary[];
  readonly entries: ReadonlyMap<string, RootEntry>;
}

/** Collects files into a tree; paths on this machine are paths in the root. */
export class Collector {
  readonly entries = new Map<string, RootEntry>();

  /** A file with the folders and links that lead to it; returns its real path. @throws PROGRAM_MISSING */
  add(path: string): string {
    const absolute = resolve(path);
    let real: string;
    try {
      real = realpathSync(absolute);
      const status = statSync(real);
      if (!status.isFile()) throw new Error('is not a file');
      if (status.size > MAX_FILE) throw new Error(`has ${status.size} bytes, which is too much`);
      this.#leadTo(absolute);
      this.#leadTo(real);
      if (!this.entries.has(real))
        this.entries.set(real, {
          path: real,
          kind: 'file',
          mode: status.mode,
          bytes: new Uint8Array(readFileSync(real)),
        });
    } catch (cause) {
      throw libosError('PROGRAM_MISSING', `${path} cannot be read: ${(cause as Error).message}`, {
        cause,
        advice: 'Check the path.',
      });
    }
    return real;
  }

  folder(path: string, mode = 0o755, writable = false): void {
    this.entries.set(path, { path, kind: 'folder', mode, writable });
  }

  /** Folders and links from the top down to `path`. */
  #leadTo(path: string, depth = 0): void {
    const names = path.split('/').filter((part) => part !== '');
    let at = '/';
    for (const [i, name] of names.entries()) {
      at = join(at, name);
      const status = lstatSync(at);
      if (status.isSymbolicLink()) {
        const target = readlinkSync(at);
        this.entries.set(at, { path: at, kind: 'link', mode: 0o777, target });
        // What follows has its name where the link leads.
        const rest = resolve(dirname(at), target, ...names.slice(i + 1));
        if (depth < MAX_LINKS) this.#leadTo(rest, depth + 1);
        return;
      }
      if (status.isDirectory() && !this.entries.has(at)) this.folder(at, status.mode & 0o777);
    }
  }
}

function findLibrary(name: string, from: Binary): string {
  const own = from.program.searchPath
    .map((path) => path.replace(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(from.path)))
    .filter((path) => path.startsWith('/'));
  const candidates = name.includes('/')
    ? [name]
    : [...own, ...LIBRARY_FOLDERS].map((folder) => join(folder, name));
  for (const candidate of candidates)
    try {
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      // The next folder may have it.
    }
  throw libosError('PROGRAM_MISSING', `${from.path} needs ${name}, which is nowhere on this machine`, {
    advice: 'Install the package that has it.',
  });
}

/** Collects a program, `extra` files, and what binaries among them need. @throws PROGRAM_MISSING, PROGRAM_MALFORMED */
export function collect(path: string, extra: readonly string[] = []): Collected {
  const collector = new Collector();
  for (const folder of ['/', '/tmp', '/dev']) collector.folder(folder, 0o755, folder !== '/');
  const binaries = new Map<string, Binary>();
  const load = (file: string): Binary => {
    const real = collector.add(file);
    const known = binaries.get(real);
    if (known !== undefined) return known;
    const binary = { path: real, program: readProgram(collector.entries.get(real)!.bytes!, real) };
    binaries.set(real, binary);
    for (const name of binary.program.needed) {
      // The interpreter is named as a library too.
      const there = [...binaries.keys()].find((other) => other.endsWith(`/${name}`));
      if (there === undefined) load(findLibrary(name, binary));
    }
    return binary;
  };
  const main = load(path);
  const interpreter = main.program.interpreter === undefined ? undefined : load(main.program.interpreter);
  for (const file of extra) {
    const bytes = collector.entries.get(collector.add(file))!.bytes!;
    // Code can be executed only where it lies in place: what dlopen shall find is placed too.
    if (isElf(bytes) && !readProgram(bytes, file).fixed) load(file);
  }
  return { main, interpreter, binaries: [...binaries.values()], entries: collector.entries };
}
