/**
 * The host's half of mounted folders: what the library OS asks of them, answered only for what lies below the folders that
 * were given, and changed only where that was allowed. Owners are told as the program sees itself: whose this process is, is
 * its root.
 */
import { closeSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { libosError } from '../../errors.js';
import {
  Beneath,
  component,
  done,
  type Facts,
  O,
  Refusal,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  split,
} from './beneath.js';
import { Lists } from './lists.js';

const { EEXIST, EINVAL, EISDIR, ELOOP, ENODEV, ENOENT, ENOSYS, EPERM, EROFS } = constants.errno;
/** Operations of `host_files` (core/fs/hostfs.ts). */
const F = Object.freeze({
  WALK: 1,
  STAT: 2,
  OPEN: 3,
  LIST: 4,
  MKDIR: 5,
  CREATE: 6,
  SYMLINK: 7,
  LINK: 8,
  UNLINK: 9,
  RMDIR: 10,
  RENAME: 11,
  CHMOD: 12,
  CHOWN: 13,
  TIMES: 14,
  TRUNCATE: 15,
  ALLOCATE: 16,
  SYNC: 17,
  SPACE: 18,
  APPEND: 19,
  READ: 20,
});
const CHANGES: ReadonlySet<number> = new Set([
  ...[F.MKDIR, F.CREATE, F.SYMLINK, F.LINK, F.UNLINK, F.RMDIR, F.RENAME],
  ...[F.CHMOD, F.CHOWN, F.TIMES, F.TRUNCATE, F.ALLOCATE],
]);
const RECORD = 72;
const TARGET_ROOM = 4096;
const MOST_NAMES = 32;
const MODE = 0o1777;
const SET_ID = 0o6000;
const NOBODY = 0xffff_ffff;
const NOW = -1n;
const OMIT = -2n;
const SECOND = 1_000_000_000n;
/** utimensat's nanoseconds for these. */
const UTIME_NOW = 0x3fffffffn;
const UTIME_OMIT = 0x3ffffffen;
const READ_ROOM = 4096;
const NONE = new Uint8Array(0);

/** A folder of this machine for a program. */
export interface MountOptions {
  /** Where it is mounted: a mount of the image. */
  readonly path: string;
  readonly folder: string;
  /** Whether the program may change it, where the image lets it. */
  readonly writable?: boolean;
}

/** The program's table of descriptors. */
export interface Descriptors {
  /** Gives a descriptor away; its number there, or minus an errno. */
  grant(fd: number): number;
  /** A copy of one, to be closed; minus an errno. */
  borrow(number: number): number;
}

interface Mounted {
  readonly files: Beneath;
  readonly writable: boolean;
}

/** One program's mounted folders. */
export class HostMounts {
  readonly #mounts = new Map<string, Mounted>();
  readonly #descriptors: Descriptors;
  readonly #lists = new Lists();
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;

  /** @throws MOUNT_UNUSABLE */
  constructor(mounts: readonly MountOptions[], descriptors: Descriptors) {
    this.#descriptors = descriptors;
    for (const { path, folder, writable } of mounts)
      try {
        if (this.#mounts.has(path)) throw new Refusal(EEXIST);
        this.#mounts.set(path, { files: new Beneath(folder), writable: writable ?? false });
      } catch (error) {
        this.close();
        if (!(error instanceof Refusal)) throw error;
        throw libosError('MOUNT_UNUSABLE', `${folder} cannot be mounted on ${path}: ${nameOf(error.errno)}`, {
          advice: 'Give a folder that can be read, and each place once.',
        });
      }
  }

  close(): void {
    for (const { files } of this.#mounts.values()) files.close();
    this.#mounts.clear();
  }

  handlers() {
    return {
      host_files: (op: number, fd: bigint, a: bigint, b: bigint, data: Uint8Array): Uint8Array => {
        try {
          return this.#serve(op, Number(fd), a, b, split(Uint8Array.from(data), 0));
        } catch (error) {
          if (error instanceof Refusal) return answer(-error.errno);
          throw error;
        }
      },
    };
  }

  #serve(op: number, fd: number, a: bigint, b: bigint, [path, first, ...strings]: Uint8Array[]): Uint8Array {
    const mount = this.#mounts.get(Buffer.from(path).toString('latin1'));
    if (mount === undefined) throw new Refusal(ENODEV);
    if (first === undefined) throw new Refusal(EINVAL);
    // What stands behind the last zero is nothing.
    strings.pop();
    if (CHANGES.has(op) && !mount.writable) throw new Refusal(EROFS);
    const { files } = mount;
    const small = Number(BigInt.asUintN(32, a));
    switch (op) {
      case F.WALK:
        return this.#walk(files, first, strings.slice(0, MOST_NAMES));
      case F.STAT:
        return fd >= 0
          ? this.#borrowed(fd, (copy) => answer(0, this.#record(files, files.facts(copy))))
          : files.at(first, ({ folder, name }) => answer(0, this.#described(files, folder, name)));
      case F.OPEN:
        return this.#open(mount, first, small, Number(b) & MODE);
      case F.LIST:
        return answer(
          0,
          this.#lists.next(files, Buffer.from(path).toString('latin1'), first, strings[0] ?? NONE),
        );
      case F.SPACE:
        return files.at(first, (place) => files.standing(place, (at) => answer(0, this.#space(files, at))));
      case F.READ:
        return this.#read(files, first, Number(b));
      case F.SYNC:
        return answer(
          fd >= 0
            ? this.#borrowed(fd, (copy) => done(files.calls.sync(copy)))
            : files.at(first, (place) =>
                using(files.open(place, O.RDONLY), (at) => done(files.calls.sync(at))),
              ),
        );
      case F.APPEND:
        return answer(this.#borrowed(fd, (copy) => done(files.calls.append(copy, small))));
      default:
        return answer(this.#change(files, op, fd, a, b, first, strings));
    }
  }

  /** Changes of names, then of files by name or descriptor. */
  #change(
    files: Beneath,
    op: number,
    fd: number,
    a: bigint,
    b: bigint,
    path: Uint8Array,
    strings: Uint8Array[],
  ): number {
    const { calls } = files;
    const mode = Number(BigInt.asUintN(32, a)) & MODE;
    switch (op) {
      case F.MKDIR:
        return files.named(path, ({ folder, name }) => {
          done(calls.mkdir(folder, name, mode));
          using(done(calls.open(folder, name, O.PATH | O.DIRECTORY, 0)), (made) =>
            this.#exactly(files, made, mode),
          );
          return 0;
        });
      case F.CREATE:
        return files.named(path, ({ folder, name }) => {
          const flags = O.WRONLY | O.CREAT | O.EXCL;
          using(done(calls.open(folder, name, flags, mode)), (made) => this.#exactly(files, made, mode));
          return 0;
        });
      case F.SYMLINK: {
        const target = strings[0] ?? NONE;
        if (target.length === 0) throw new Refusal(ENOENT);
        return files.named(path, ({ folder, name }) =>
          done(calls.symlink(Buffer.concat([target, NUL]), folder, name)),
        );
      }
      case F.LINK:
        return files.named(path, (from) =>
          files.named(strings[0] ?? NONE, (to) =>
            done(calls.link(from.folder, from.name, to.folder, to.name)),
          ),
        );
      case F.RENAME:
        if (a < 0n || a > 2n) throw new Refusal(EINVAL);
        return files.named(path, (from) =>
          files.named(strings[0] ?? NONE, (to) =>
            done(calls.rename(from.folder, from.name, to.folder, to.name, Number(a))),
          ),
        );
      case F.UNLINK:
      case F.RMDIR:
        return files.named(path, ({ folder, name }) =>
          done(calls.unlink(folder, name, op === F.RMDIR ? 1 : 0)),
        );
      case F.CHMOD: {
        // A program of the enclave makes nothing that runs as somebody else outside.
        if ((Number(BigInt.asUintN(32, a)) & SET_ID) !== 0) throw new Refusal(EPERM);
        if (fd >= 0) return this.#borrowed(fd, (copy) => done(calls.chmod(copy, mode)));
        return files.at(path, (place) =>
          files.standing(place, (at, facts) => {
            if ((facts.mode & S_IFMT) === S_IFLNK) throw new Refusal(ELOOP);
            return done(calls.chmod(at, mode));
          }),
        );
      }
      case F.CHOWN: {
        const [uid, gid] = [this.#outside(a, this.#uid), this.#outside(b, this.#gid)];
        if (fd >= 0) return this.#borrowed(fd, (copy) => done(calls.chown(copy, NUL, uid, gid)));
        return files.at(path, ({ folder, name }) => done(calls.chown(folder, name, uid, gid)));
      }
      case F.TIMES: {
        const times = new BigInt64Array([...time(a), ...time(b)]);
        if (fd >= 0) return this.#borrowed(fd, (copy) => done(calls.times(copy, NUL, times)));
        return files.at(path, (place) =>
          place.name[0] === 0
            ? using(files.open(place, O.RDONLY), (at) => done(calls.times(at, NUL, times)))
            : done(calls.times(place.folder, place.name, times)),
        );
      }
      case F.TRUNCATE:
        if (fd >= 0) return this.#borrowed(fd, (copy) => done(calls.truncate(copy, a)));
        return files.named(path, (place) =>
          using(files.open(place, O.WRONLY), (at) => done(calls.truncate(at, a))),
        );
      case F.ALLOCATE: {
        const how = Number((a >> 56n) & 0x7fn);
        const offset = a & ((1n << 56n) - 1n);
        return this.#borrowed(fd, (copy) => done(calls.allocate(copy, how, offset, b)));
      }
      default:
        throw new Refusal(ENOSYS);
    }
  }

  #borrowed<T>(number: number, use: (fd: number) => T): T {
    return using(done(this.#descriptors.borrow(number)), use);
  }

  /** Each name in the folder before it, as far as folders go; the first that is missing ends it. */
  #walk(files: Beneath, base: Uint8Array, names: readonly Uint8Array[]): Uint8Array {
    const records: Uint8Array[] = [];
    files.inFolder(base, (start) => {
      let at = start;
      try {
        for (const text of names) {
          const name = component(text);
          const record = this.#described(files, at, name);
          records.push(record);
          if ((new DataView(record.buffer, record.byteOffset).getUint32(4, true) & S_IFMT) !== S_IFDIR) break;
          if (text === names.at(-1)) break;
          const next = files.enter(at, name);
          if (at !== start) closeSync(at);
          at = next;
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        records.push(failed(error.errno));
      } finally {
        if (at !== start) closeSync(at);
      }
    });
    return answer(records.length, Buffer.concat(records));
  }

  #open({ files, writable }: Mounted, path: Uint8Array, flags: number, mode: number): Uint8Array {
    const creates = (flags & O.CREAT) !== 0;
    if (!writable && ((flags & 3) !== 0 || (flags & (O.CREAT | O.TRUNC)) !== 0)) throw new Refusal(EROFS);
    const wanted = flags & (3 | O.APPEND);
    const fd = files.named(path, (place) => {
      if (creates) {
        const made = files.calls.open(place.folder, place.name, wanted | O.CREAT | O.EXCL, mode);
        if (made >= 0) this.#exactly(files, made, mode);
        if (made >= 0 || made !== -EEXIST || (flags & O.EXCL) !== 0) return done(made);
      }
      return files.open(place, wanted | (flags & O.TRUNC));
    });
    let record: Uint8Array;
    try {
      const facts = files.facts(fd);
      if ((facts.mode & S_IFMT) !== S_IFREG) throw new Refusal(EISDIR);
      record = this.#record(files, facts);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    // Whoever it is given to closes it.
    return answer(done(this.#descriptors.grant(fd)), record);
  }

  /** This process's umask is not the program's. */
  #exactly(files: Beneath, fd: number, mode: number): void {
    if ((files.facts(fd).mode & MODE) !== mode) done(files.calls.chmod(fd, mode));
  }

  #read(files: Beneath, path: Uint8Array, length: number): Uint8Array {
    return files.named(path, (place) =>
      using(files.open(place, O.RDONLY), (fd) => {
        const bytes = new Uint8Array(Math.min(length, READ_ROOM));
        return answer(0, bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0)));
      }),
    );
  }

  #space(files: Beneath, fd: number): Uint8Array {
    const numbers = new BigUint64Array(8);
    done(files.calls.space(fd, numbers));
    return new Uint8Array(numbers.buffer, 8, 56);
  }

  #described(files: Beneath, folder: number, name: Uint8Array): Uint8Array {
    const facts = files.facts(folder, name);
    if ((facts.mode & S_IFMT) !== S_IFLNK) return this.#record(files, facts);
    const target = new Uint8Array(TARGET_ROOM);
    const length = done(files.calls.readlink(folder, name, target, TARGET_ROOM));
    return this.#record(files, facts, target.subarray(0, Math.min(length, TARGET_ROOM - 1)));
  }

  #record(files: Beneath, facts: Facts, target: Uint8Array = NONE): Uint8Array {
    const bytes = new Uint8Array((RECORD + target.length + 7) & ~7);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, facts.mode, true);
    [files.identity(facts), facts.size, facts.blocks, ...facts.times].forEach((value, i) => {
      view.setBigUint64(8 + 8 * i, value, true);
    });
    const owners = [facts.uid === this.#uid ? 0 : facts.uid, facts.gid === this.#gid ? 0 : facts.gid];
    [facts.links, ...owners, target.length].forEach((value, i) => {
      view.setUint32(56 + 4 * i, value, true);
    });
    bytes.set(target, RECORD);
    return bytes;
  }

  /** An owner as the program names it; its root is whose this process is. */
  #outside(id: bigint, own: number): number {
    const number = Number(BigInt.asUintN(32, id));
    return number === NOBODY ? NOBODY : number === 0 ? own : number;
  }
}

const NUL = new Uint8Array(1);

function using<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function failed(errno: number): Uint8Array {
  const bytes = new Uint8Array(RECORD);
  new DataView(bytes.buffer).setInt32(0, -errno, true);
  return bytes;
}

function time(value: bigint): [bigint, bigint] {
  if (value === NOW) return [0n, UTIME_NOW];
  if (value === OMIT) return [0n, UTIME_OMIT];
  const rest = ((value % SECOND) + SECOND) % SECOND;
  return [(value - rest) / SECOND, rest];
}

function nameOf(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** A result, and what comes with it. */
function answer(result: number, bytes: Uint8Array = NONE): Uint8Array {
  const out = new Uint8Array(8 + bytes.length);
  new DataView(out.buffer).setBigInt64(0, BigInt(result), true);
  out.set(bytes, 8);
  return out;
}

/** For programs without mounts. */
export const noMounts = Object.freeze({ host_files: (): Uint8Array => answer(-ENODEV) });
