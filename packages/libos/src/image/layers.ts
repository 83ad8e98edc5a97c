/**
 * Where the files of a root come from: folders of this machine one upon the other, and single files put elsewhere. Paths
 * are those of the root; links are followed inside of it, not on this machine.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type Fact, factOf } from './fact.js';

const MAX_LINKS = 40;
/** Largest file of a root. */
const MAX_FILE = 2 ** 30;
const MAX_COPIED = 200_000;

/** A file, folder or link that a layer has. */
export interface Found {
  readonly kind: 'file' | 'folder' | 'link';
  readonly mode: number;
  readonly size: number;
  /** Its path on this machine; none for a folder that only leads to a copied file. */
  readonly from?: string;
}

const IMPLIED: Found = Object.freeze({ kind: 'folder', mode: 0o755, size: 0 });

function found(status: Stats, from: string): Found | undefined {
  const kind = status.isFile()
    ? 'file'
    : status.isDirectory()
      ? 'folder'
      : status.isSymbolicLink()
        ? 'link'
        : undefined;
  return kind === undefined ? undefined : { kind, mode: status.mode & 0o7777, size: status.size, from };
}

/** Layers of a root; the first that has a path wins, and what was copied is above them all. */
export class Layers {
  readonly #copied = new Map<string, Found>();
  readonly #parents = new Map<string, boolean>();
  readonly #seen = new Map<string, string>();

  /** @param folders paths of this machine; `/` is this machine itself */
  constructor(readonly folders: readonly string[] = ['/']) {}

  /**
   * Puts a file, link or folder with all that is in it at a path of the root; returns the paths of all that.
   * Sockets, devices and pipes are left out. @throws the errors of `fs`, RangeError for too many files
   */
  copy(from: string, to: string): string[] {
    const added: string[] = [];
    const walk = (source: string, target: string) => {
      if (added.length > MAX_COPIED) throw new RangeError(`${from} has more than ${MAX_COPIED} files`);
      const item = found(lstatSync(source), source);
      if (item === undefined) return;
      this.#copied.set(target, item);
      added.push(target);
      if (item.kind === 'folder')
        for (const name of readdirSync(source).sort()) walk(join(source, name), join(target, name));
    };
    const target = resolve('/', to);
    // What is named is meant itself, not the link that it may be.
    walk(realpathSync(from), target);
    for (let at = dirname(target); !this.#copied.has(at); at = dirname(at)) {
      if (this.find(at) === undefined) this.#copied.set(at, IMPLIED);
      if (at === '/') break;
    }
    return added;
  }

  /** What lies at a path whose folders are no links; the last name may be one. */
  find(path: string): Found | undefined {
    const copied = this.#copied.get(path);
    if (copied !== undefined) return copied;
    for (const folder of this.folders) {
      const from = join(folder, path);
      if (!this.#inside(folder, dirname(from))) continue;
      if (!this.#seen.has(from)) this.#seen.set(from, factOf(from));
      const status = lstatSync(from, { throwIfNoEntry: false });
      const item = status === undefined ? undefined : found(status, from);
      if (item !== undefined) return item;
    }
    return undefined;
  }

  /** A layer's own links must not lead out of it. */
  #inside(folder: string, parent: string): boolean {
    if (folder === '/') return true;
    const key = `${folder}\0${parent}`;
    let inside = this.#parents.get(key);
    if (inside === undefined) {
      try {
        inside = !relative(realpathSync(folder), realpathSync(parent)).startsWith('..');
      } catch {
        inside = false;
      }
      this.#parents.set(key, inside);
    }
    return inside;
  }

  /**
   * Follows a path through the links of the root; `passed` is told of each folder and link on the way, and of the last.
   * @returns the path without links, or undefined when it leads nowhere
   */
  follow(path: string, passed: (path: string, item: Found) => void = () => undefined): string | undefined {
    let links = 0;
    let at = '/';
    const rest = resolve('/', path)
      .split('/')
      .filter((part) => part !== '');
    while (rest.length > 0) {
      const name = rest.shift()!;
      if (name === '..') {
        at = dirname(at);
        continue;
      }
      const next = join(at, name);
      const item = this.find(next);
      if (item === undefined) return undefined;
      passed(next, item);
      if (item.kind !== 'link') {
        at = next;
        continue;
      }
      if (++links > MAX_LINKS) return undefined;
      const target = this.link(item);
      if (target.startsWith('/')) at = '/';
      rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
    }
    return at;
  }

  /** Everything below a folder without links in its path, in whichever layer. @throws RangeError for too many files */
  below(path: string): string[] {
    const paths: string[] = [];
    const walk = (at: string) => {
      const names = new Set<string>();
      for (const copied of this.#copied.keys())
        if (dirname(copied) === at && copied !== at) names.add(basename(copied));
      for (const folder of this.folders) {
        const from = join(folder, at);
        if (!this.#inside(folder, from) || !lstatSync(from, { throwIfNoEntry: false })?.isDirectory())
          continue;
        for (const name of readdirSync(from)) names.add(name);
      }
      for (const name of [...names].sort()) {
        const next = join(at, name);
        paths.push(next);
        if (paths.length > MAX_COPIED) throw new RangeError(`${path} has more than ${MAX_COPIED} files`);
        if (this.find(next)?.kind === 'folder') walk(next);
      }
    };
    walk(path);
    return paths;
  }

  /** Paths of this machine that were looked at, and what they were; not those of what was copied. */
  get seen(): Fact[] {
    return [...this.#seen];
  }

  /** Target of a link. */
  link(item: Found): string {
    return readlinkSync(item.from!);
  }

  /** Contents of a file. @throws the errors of `fs`, RangeError for what is too large */
  read(item: Found): Uint8Array {
    if (item.size > MAX_FILE) throw new RangeError(`it has ${item.size} bytes, which is too much`);
    return new Uint8Array(readFileSync(item.from!));
  }
}

/** Paths below a folder, sorted. @throws the errors of `fs`, RangeError for too many files */
export function listFolder(folder: string): string[] {
  const paths: string[] = [];
  const walk = (path: string) => {
    for (const entry of readdirSync(join(folder, path), { withFileTypes: true })) {
      const name = join(path, entry.name);
      paths.push(name);
      if (entry.isDirectory()) walk(name);
      if (paths.length > MAX_COPIED) throw new RangeError(`${folder} has more than ${MAX_COPIED} files`);
    }
  };
  walk('/');
  return paths.sort();
}
