/** The files that a guest starts with, by their path in the guest. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { vmError } from '../errors.js';
import { type CpioEntry, CpioWriter } from './cpio.js';

const DEPTH_LIMIT = 64;
const LINK_LIMIT = 40;
/** What the kernel provides: never copied from a root file system. */
const KERNEL_FOLDERS: readonly string[] = ['/proc', '/sys', '/dev', '/run'];

/** A tree of entries; folders above an entry come by themselves, a later entry replaces an earlier one. */
export class GuestTree {
  readonly #entries = new Map<string, CpioEntry>();

  /** True when something is at `path`. */
  has(path: string): boolean {
    return this.#entries.has(this.#resolve(inArchive(path)));
  }

  /** Paths of all entries, with their leading slash. */
  get paths(): string[] {
    return [...this.#entries.keys()].map((path) => `/${path}`);
  }

  directory(path: string, mode = 0o755): void {
    this.#put({ path: inArchive(path), kind: 'directory', mode });
  }

  file(path: string, bytes: Uint8Array | string, mode = 0o644): void {
    const content = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes;
    this.#put({ path: inArchive(path), kind: 'file', mode, bytes: content });
  }

  link(path: string, target: string): void {
    this.#put({ path: inArchive(path), kind: 'link', mode: 0o777, target });
  }

  device(path: string, major: number, minor: number, mode = 0o600): void {
    this.#put({ path: inArchive(path), kind: 'device', mode, major, minor });
  }

  /**
   * Copies a file or a folder of this machine. A link at `from` itself is followed, links inside a folder stay links.
   * @returns the files copied, as [path here, path in the guest]
   * @throws VM_FILE
   */
  copy(from: string, to: string): [string, string][] {
    try {
      return [...this.#copy(realpathSync(from), posix.normalize(to), 0)];
    } catch (cause) {
      if (!(cause instanceof Error) || !('syscall' in cause)) throw cause;
      throw vmError('VM_FILE', `${from} cannot be read: ${cause.message}`, undefined, cause);
    }
  }

  /** The tree as an archive: folders before what is in them. */
  archive(): { pieces: readonly Uint8Array[]; length: number } {
    const writer = new CpioWriter();
    for (const entry of this.#entries.values()) writer.add(entry);
    const pieces = writer.finish();
    return { pieces, length: writer.length };
  }

  *#copy(from: string, to: string, depth: number): Generator<[string, string]> {
    const stat = lstatSync(from);
    if (depth > DEPTH_LIMIT) throw vmError('VM_FILE', `${from} lies deeper than ${DEPTH_LIMIT} folders`);
    if (stat.isSymbolicLink()) this.link(to, readlinkSync(from));
    else if (stat.isDirectory()) {
      if (to !== '/') this.directory(to, stat.mode & 0o7777);
      if (depth > 0 && KERNEL_FOLDERS.includes(to)) return;
      for (const name of readdirSync(from).sort())
        yield* this.#copy(join(from, name), posix.join(to, name), depth + 1);
    } else if (stat.isFile()) {
      this.file(to, readFileSync(from), stat.mode & 0o7777);
      yield [from, to];
    }
    // Sockets, pipes and devices are the guest kernel's own matter.
  }

  #put(entry: CpioEntry): void {
    const path = this.#resolve(entry.path);
    const parts = path.split('/');
    for (let n = 1; n < parts.length; n++) {
      const folder = parts.slice(0, n).join('/');
      const there = this.#entries.get(folder);
      if (there === undefined) this.#entries.set(folder, { path: folder, kind: 'directory', mode: 0o755 });
      else if (there.kind !== 'directory')
        throw vmError('VM_FILE', `/${folder} in the guest is a file, so /${entry.path} cannot be in it`);
    }
    if (entry.kind === 'directory' && this.#entries.get(path)?.kind === 'link') return;
    this.#entries.set(path, { ...entry, path });
  }

  /** Follows links among the folders above `path` (lib → usr/lib of a merged root). */
  #resolve(path: string, links = 0): string {
    const parts = path.split('/');
    for (let n = 1; n < parts.length; n++) {
      const folder = parts.slice(0, n).join('/');
      const there = this.#entries.get(folder);
      if (there?.kind !== 'link') continue;
      if (links >= LINK_LIMIT) throw vmError('VM_FILE', `/${path} in the guest lies behind too many links`);
      const target = posix.resolve('/', posix.dirname(`/${folder}`), there.target);
      return this.#resolve(inArchive(posix.join(target, ...parts.slice(n))), links + 1);
    }
    return path;
  }
}

/** The path without its leading slash. @throws VM_FILE when it is not absolute */
function inArchive(path: string): string {
  const clean = posix.normalize(path).replace(/\/+$/, '');
  if (!clean.startsWith('/') || clean === '')
    throw vmError('VM_FILE', `"${path}" is no absolute path of the guest`);
  return clean.slice(1);
}

/** True when `path` is a folder here. */
export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
