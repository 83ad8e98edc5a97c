/** From a program to all the files it needs: interpreter, libraries, their folders and links. */
import { basename, dirname, join } from 'node:path';
import { isElf, type Program, readProgram } from '../elf/program.js';
import { libosError } from '../errors.js';
import { companionsOf } from './companions.js';
import { Layers } from './layers.js';
import type { RootEntry } from './manifest.js';
import type { StoreKey } from './store-key.js';

/** Where Debian's glibc looks, and where its musl does. */
const LIBRARY_FOLDERS = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
  '/usr/local/lib',
];
const MUSL_FOLDERS = [
  '/lib/x86_64-linux-musl',
  '/usr/lib/x86_64-linux-musl',
  '/lib',
  '/usr/local/lib',
  '/usr/lib',
];
const LOCALE = '/usr/lib/locale/C.utf8';
/** Libraries that musl's loader is itself (ldso/dynlink.c, load_library). */
const MUSL_ITSELF = /^lib(c|pthread|rt|m|dl|util|xnet)\./;
const ET_DYN = 3;

/** Files that programs expect of any system, where nothing else is copied to their place. Nothing in them is this machine's. */
const EXPECTED: Readonly<Record<string, string>> = {
  '/etc/passwd': 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  '/etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  '/etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  '/etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

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

/** Collects files into a tree. */
export class Collector {
  readonly entries = new Map<string, RootEntry>();

  /** @param layers where the files are; this machine */
  constructor(readonly layers: Layers = new Layers()) {}

  /** A file with the folders and links that lead to it; returns its real path. @throws PROGRAM_MISSING */
  add(path: string): string {
    try {
      const real = this.put(path);
      if (real === undefined) throw new Error('there is no such file');
      if (this.entries.get(real)!.kind !== 'file') throw new Error('it is not a file');
      return real;
    } catch (cause) {
      throw libosError('PROGRAM_MISSING', `${path} cannot be read: ${(cause as Error).message}`, {
        cause,
        advice: 'Check the path.',
      });
    }
  }

  /**
   * Whatever is at a path, with what leads there; returns the path without links, or undefined when nothing is there.
   * @throws the errors of `fs` for a file that cannot be read
   */
  put(path: string): string | undefined {
    const { layers } = this;
    return layers.follow(path, (at, item) => {
      if (this.entries.has(at)) return;
      if (item.kind === 'folder') this.folder(at, item.mode & 0o777);
      else if (item.kind === 'link')
        this.entries.set(at, { path: at, kind: 'link', mode: 0o777, target: layers.link(item) });
      else this.entries.set(at, { path: at, kind: 'file', mode: item.mode, bytes: layers.read(item) });
    });
  }

  folder(path: string, mode = 0o755, writable = false): void {
    this.entries.set(path, { path, kind: 'folder', mode, writable });
  }

  /** A file of /etc, unless there is one, or /etc is something else than a folder. */
  expected(path: string, text: string): void {
    const parent = dirname(path);
    if (!this.entries.has(parent)) this.folder(parent);
    if (this.entries.has(path) || this.entries.get(parent)!.kind !== 'folder') return;
    this.entries.set(path, { path, kind: 'file', mode: 0o644, bytes: new TextEncoder().encode(text) });
  }

  /** Mounts the store on a folder. @throws STORE_PATH_INVALID */
  store(path: string, key: StoreKey = 'mrenclave'): void {
    this.#place(path, 'STORE_PATH_INVALID');
    this.entries.set(path, { ...this.entries.get(path)!, writable: true, store: key });
  }

  /** A place for a folder of the host. @throws MOUNT_PATH_INVALID */
  mount({ path, writable }: MountPlace): void {
    this.#place(path, 'MOUNT_PATH_INVALID');
    const known = this.entries.get(path)!;
    if (known.store !== undefined || known.mount !== undefined || OWN_FOLDERS.has(path))
      throw libosError('MOUNT_PATH_INVALID', `${path} is something else already`, {
        advice: 'Mount the folder elsewhere.',
      });
    this.entries.set(path, { ...known, writable, mount: writable ? 'rw' : 'ro' });
  }

  /** The folder that the program starts in; within a mount only the host knows whether it is there. @throws MOUNT_PATH_INVALID */
  start(path: string): void {
    const mounted = [...this.entries.values()].some(
      (entry) => entry.mount !== undefined && `${path}/`.startsWith(`${entry.path}/`),
    );
    if (!mounted && path !== '/') this.#place(path, 'MOUNT_PATH_INVALID');
    this.entries.set(`${path}\0start`, { path, kind: 'start', mode: 0 });
  }

  /** Makes sure of a folder below the root. */
  #place(path: string, code: 'STORE_PATH_INVALID' | 'MOUNT_PATH_INVALID'): void {
    const parts = path.split('/').slice(1);
    if (!path.startsWith('/') || parts.some((part) => part === '' || part === '.' || part === '..'))
      throw libosError(code, `${path} is no folder of a program`, {
        advice: 'Name a folder below / by its absolute path, such as /data.',
      });
    for (let n = 1; n <= parts.length; n++) {
      const at = `/${parts.slice(0, n).join('/')}`;
      const known = this.entries.get(at);
      if (known !== undefined && known.kind !== 'folder')
        throw libosError(code, `${at} is a ${known.kind} in the root, not a folder`, {
          advice: 'Name the folder without links.',
        });
      if (known === undefined) this.folder(at);
    }
  }
}

/** `loader` is the interpreter of the program that everything is for. */
function findLibrary(layers: Layers, name: string, from: Binary, loader: string): string {
  const musl = basename(loader).startsWith('ld-musl-');
  if (musl && MUSL_ITSELF.test(name)) return loader;
  const own = from.program.searchPath
    .map((path) => path.replace(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(from.path)))
    .filter((path) => path.startsWith('/'));
  const candidates = name.includes('/')
    ? [name]
    : [...own, ...(musl ? MUSL_FOLDERS : LIBRARY_FOLDERS)].map((folder) => join(folder, name));
  for (const candidate of candidates) {
    const real = layers.follow(candidate);
    if (real !== undefined && layers.find(real)?.kind === 'file') return candidate;
  }
  throw libosError(
    'PROGRAM_MISSING',
    `${from.path} needs ${name}, which is in none of the folders searched`,
    {
      advice: 'Install the package that has it, or name it with --copy or --deb.',
    },
  );
}

/** A place for a folder of the host: part of what is measured. */
export interface MountPlace {
  readonly path: string;
  /** Whether the program may change what is there. */
  readonly writable: boolean;
}

/** Folders that the library OS makes. */
const OWN_FOLDERS: ReadonlySet<string> = new Set(['/', '/dev', '/proc', '/sys']);

/** What else belongs to a root, beside what the program needs. */
export interface CollectOptions {
  /** Files that must be there, and folders with what is in them, by their paths in the root. */
  readonly copy?: readonly string[];
  /** What is taken along as far as it can be read. */
  readonly along?: readonly string[];
  /** Whether data of the program's package are taken along. Libraries among them are loaded when the program wants them. */
  readonly companions?: boolean;
  readonly layers?: Layers;
  /** Where files stay, and who can read them. */
  readonly store?: { readonly path: string; readonly key?: StoreKey };
  /** Where folders of the host are mounted, and where the program starts. */
  readonly mounts?: readonly MountPlace[];
  readonly start?: string;
  /** Told of what was left out. */
  readonly onNote?: (text: string) => void;
}

/** Collects a program, further files, and what binaries among them need. @throws PROGRAM_MISSING, PROGRAM_MALFORMED */
export function collect(path: string, options: CollectOptions = {}): Collected {
  const collector = new Collector(options.layers);
  const { layers } = collector;
  for (const folder of ['/', '/tmp', '/dev']) collector.folder(folder, 0o755, folder !== '/');
  const binaries = new Map<string, Binary>();
  let loader: string | undefined;
  const load = (file: string): Binary => {
    const real = collector.add(file);
    const known = binaries.get(real);
    if (known !== undefined) return known;
    const binary = { path: real, program: readProgram(collector.entries.get(real)!.bytes!, real) };
    binaries.set(real, binary);
    loader ||= binary.program.interpreter;
    for (const name of binary.program.needed) {
      // The interpreter is named as a library too.
      const there = [...binaries.keys()].find((other) => other.endsWith(`/${name}`));
      if (there === undefined) load(findLibrary(layers, name, binary, loader ?? ''));
    }
    return binary;
  };
  const main = load(path);
  const interpreter = main.program.interpreter === undefined ? undefined : load(main.program.interpreter);
  // Code can be executed only where it lies in place: what dlopen shall find is placed too.
  const place = (real: string) => {
    const { bytes } = collector.entries.get(real)!;
    if (bytes === undefined || !isElf(bytes) || !isProgram(bytes, real)) return;
    // A program that this one runs may be of another C library, or this one of none.
    const own = readProgram(bytes, real).interpreter;
    const before = loader;
    loader = own ?? before;
    load(real);
    if (own !== undefined) load(own);
    loader = before;
  };
  const along = [...(options.along ?? [])];
  for (const path of options.copy ?? []) {
    const real = layers.follow(path);
    if (real === undefined || layers.find(real)?.kind !== 'folder') place(collector.add(path));
    else along.push(path, ...layers.below(real));
  }
  for (const file of along)
    try {
      const real = collector.put(file);
      if (real !== undefined) place(real);
    } catch (error) {
      options.onNote?.(`${file}: ${(error as Error).message}`);
    }
  if (options.companions) {
    const wanted = (real: string) => {
      const { bytes } = collector.entries.get(real)!;
      if (bytes === undefined || !isElf(bytes) || !isProgram(bytes, real)) return;
      const binary = { path: real, program: readProgram(bytes, real) };
      for (const name of binary.program.needed) {
        const library = findLibrary(layers, name, binary, loader ?? '');
        const known = layers.follow(library);
        if (known !== undefined && !collector.entries.has(known)) wanted(collector.add(library));
        else collector.add(library);
      }
    };
    // glibc has the locale that most environments name in files.
    const libc = interpreter !== undefined && !basename(interpreter.path).startsWith('ld-musl-');
    const locale = libc && layers.find(LOCALE) !== undefined ? layers.below(LOCALE) : [];
    for (const file of [...companionsOf(main.path, layers, options.onNote), ...locale])
      try {
        const real = collector.put(file);
        if (real !== undefined) wanted(real);
      } catch {
        // A plugin whose libraries are not installed is of no use here as well.
      }
  }
  for (const mount of options.mounts ?? []) collector.mount(mount);
  if (options.start !== undefined) collector.start(options.start);
  for (const [name, text] of Object.entries(EXPECTED)) collector.expected(name, text);
  if (options.store !== undefined) collector.store(options.store.path, options.store.key);
  return { main, interpreter, binaries: [...binaries.values()], entries: collector.entries };
}

/** Object files and programs of a fixed address are data like any other. */
function isProgram(bytes: Uint8Array, name: string): boolean {
  const type = bytes[16] + 256 * bytes[17];
  return type === ET_DYN && !readProgram(bytes, name).fixed;
}
