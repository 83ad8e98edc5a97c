/**
 * Names below one folder, and nothing else: paths are followed component by component from the folder's descriptor, never
 * through a link, never upwards. Links are the program's to follow (core/fs/path.ts), which it does within its own tree.
 */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { type FileCalls, fileCalls } from './calls.js';

const { EACCES, EINVAL, ELOOP, ENAMETOOLONG, ENOENT } = constants.errno;
const NAME_MAX = 255;
const MOST_COMPONENTS = 512;

/** linux/fcntl.h of x86-64. */
export const O = Object.freeze({
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  DIRECTORY: 0o200000,
  PATH: 0o10000000,
});
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

/** File systems whose files are the kernel's (linux/magic.h): proc, sysfs, devpts, debugfs, securityfs, tracefs, cgroups, bpf. */
const KERNELS: ReadonlySet<bigint> = new Set(
  [0x9fa0, 0x62656572, 0x1cd1, 0x64626720, 0x73636673, 0x74726163, 0x27e0eb, 0x63677270, 0xcafe4a11].map(
    BigInt,
  ),
);

/** An errno for the program. */
export class Refusal {
  constructor(readonly errno: number) {}
}

/** A result that is one. @throws Refusal */
export function done(result: number): number {
  if (result < 0) throw new Refusal(-result);
  return result;
}

/** What is known of a file. */
export interface Facts {
  readonly device: bigint;
  readonly number: bigint;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: bigint;
  readonly blocks: bigint;
  /** Nanoseconds: accessed, modified, changed. */
  readonly times: readonly [bigint, bigint, bigint];
}

/** A folder's descriptor, and a name in it; an empty one for the folder itself. */
export interface Place {
  readonly folder: number;
  readonly name: Uint8Array;
}

const NOTHING = new Uint8Array(1);

/** One component with a zero behind it. @throws Refusal for what is no plain name */
export function component(name: Uint8Array): Uint8Array {
  if (name.length > NAME_MAX) throw new Refusal(ENAMETOOLONG);
  const dots = name[0] === 46 && (name.length === 1 || (name.length === 2 && name[1] === 46));
  if (name.length === 0 || dots || name.includes(47) || name.includes(0)) throw new Refusal(EINVAL);
  const bytes = new Uint8Array(name.length + 1);
  bytes.set(name);
  return bytes;
}

/** The folder and what lies below it. */
export class Beneath {
  readonly calls: FileCalls = fileCalls();
  readonly #root: number;
  readonly #devices: bigint[];
  /** Devices that belong to the kernel, or do not. */
  readonly #kernels = new Map<bigint, boolean>();

  /** @throws Refusal when it cannot be opened */
  constructor(path: string) {
    this.#root = done(this.calls.open(-100, Buffer.from(`${path}\0`), O.PATH | O.DIRECTORY, 0));
    this.#devices = [this.facts(this.#root).device];
    this.#kernels.set(this.#devices[0], false);
  }

  close(): void {
    closeSync(this.#root);
  }

  /** @throws Refusal */
  facts(folder: number, name: Uint8Array = NOTHING): Facts {
    const out = new BigUint64Array(11);
    done(this.calls.stat(folder, name, out));
    const [mode, links, uid, gid] = [...out.subarray(2, 6)].map(Number);
    return {
      ...{ device: out[0], number: out[1], mode, links, uid, gid, size: out[6], blocks: out[7] },
      times: [out[8], out[9], out[10]],
    };
  }

  /** A number for a file that no other one below has. */
  identity({ device, number }: Pick<Facts, 'device' | 'number'>): bigint {
    let at = this.#devices.indexOf(device);
    if (at < 0) at = this.#devices.push(device) - 1;
    return number ^ (BigInt(at) << 48n) || 1n;
  }

  /** Goes on in a folder: its descriptor. @throws Refusal */
  enter(folder: number, name: Uint8Array): number {
    const fd = done(this.calls.open(folder, name, O.PATH | O.DIRECTORY, 0));
    try {
      this.#mustBeFiles(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return fd;
  }

  #mustBeFiles(fd: number): void {
    const { device } = this.facts(fd);
    let kernels = this.#kernels.get(device);
    if (kernels === undefined) {
      const space = new BigUint64Array(8);
      done(this.calls.space(fd, space));
      kernels = KERNELS.has(space[0]);
      this.#kernels.set(device, kernels);
    }
    if (kernels) throw new Refusal(EACCES);
  }

  /** Calls `use` with the folder that a path names, whose descriptor is closed behind it. @throws Refusal */
  inFolder<T>(path: Uint8Array, use: (fd: number) => T): T {
    const names = path.length === 0 ? [] : split(path, 47);
    if (names.length > MOST_COMPONENTS) throw new Refusal(ENAMETOOLONG);
    let fd = this.#root;
    try {
      for (const name of names) {
        const next = this.enter(fd, component(name));
        if (fd !== this.#root) closeSync(fd);
        fd = next;
      }
      return use(fd);
    } finally {
      if (fd !== this.#root) closeSync(fd);
    }
  }

  /** Calls `use` with the place of a path. @throws Refusal */
  at<T>(path: Uint8Array, use: (place: Place) => T): T {
    if (path.length === 0) return use({ folder: this.#root, name: NOTHING });
    const slash = path.lastIndexOf(47);
    const name = component(path.subarray(slash + 1));
    return this.inFolder(path.subarray(0, Math.max(slash, 0)), (folder) => use({ folder, name }));
  }

  /** The same for a name that is to come, to go or to change; the folder itself has none. @throws Refusal */
  named<T>(path: Uint8Array, use: (place: Place) => T): T {
    if (path.length === 0) throw new Refusal(EINVAL);
    return this.at(path, use);
  }

  /** Calls `use` with a descriptor that stands for a file without being open (O_PATH), and what it is. @throws Refusal */
  standing<T>({ folder, name }: Place, use: (fd: number, facts: Facts) => T): T {
    if (name[0] === 0) return use(folder, this.facts(folder));
    const fd = done(this.calls.open(folder, name, O.PATH, 0));
    try {
      return use(fd, this.facts(fd));
    } finally {
      closeSync(fd);
    }
  }

  /** Opens a file or folder that is there; devices, pipes and sockets are not. The caller closes it. @throws Refusal */
  open(place: Place, flags: number): number {
    return this.standing(place, (fd, { mode }) => {
      const kind = mode & S_IFMT;
      if (kind === S_IFLNK) throw new Refusal(ELOOP);
      if (kind !== S_IFREG && kind !== S_IFDIR) throw new Refusal(ENOENT);
      return done(this.calls.reopen(fd, flags));
    });
  }
}

/** The parts between bytes of one value. */
export function split(bytes: Uint8Array, by: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let from = 0;
  for (let at = bytes.indexOf(by); at >= 0; at = bytes.indexOf(by, from)) {
    parts.push(bytes.subarray(from, at));
    from = at + 1;
  }
  parts.push(bytes.subarray(from));
  return parts;
}
