import { check, checkInteger, OsError } from './errors.js';
import * as linux from './linux.js';
import { native, viewOf } from './native.js';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_NOEXEC_SEAL = 8;
const MFD_EXEC = 0x10;
const EBUSY = 16;
const EINVAL = 22;
/** How often a seal is tried while pages are held. */
const SEAL_TRIES = 20;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const MAP_SHARED = 0x1;
const MAP_PRIVATE = 0x2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_FIXED_NOREPLACE = 0x100000;
/** A view longer than this cannot be made in Node 20. */
const MAX_VIEW = 2 ** 32 - 1;

/** Options of {@link memfdCreate}. */
export interface MemfdOptions {
  /** Size in bytes; the file is sparse. Default 0. */
  size?: number;
  /** Seal against SHRINK, GROW and further seals (needs `size`). */
  seal?: boolean;
  /** May be executed as a program; otherwise sealed against that where the kernel can (6.3). */
  exec?: boolean;
  /** Permission bits; default 0700 with `exec`, else 0600. */
  mode?: number;
}

/**
 * Makes an anonymous memory file (memfd_create(2)), close-on-exec, and returns its descriptor.
 *
 * @throws OsError e.g. EMFILE, ENOMEM
 */
export function memfdCreate(name: string, options: MemfdOptions = {}): number {
  const size = checkInteger(options.size ?? 0, 'size');
  const mode = checkInteger(options.mode ?? (options.exec ? 0o700 : 0o600), 'mode', 0, 0o7777);
  const n = native();
  const base = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let fd: number = n.memfdCreate(name, base | (options.exec ? MFD_EXEC : MFD_NOEXEC_SEAL));
  if (fd === -EINVAL) fd = n.memfdCreate(name, base); // before Linux 6.3
  check(fd, 'memfd_create', name);
  try {
    check(n.fchmod(fd, mode), 'fchmod', name);
    if (size > 0) ftruncate(fd, size);
    if (options.seal) sealMemfd(fd, linux.F_SEAL_SHRINK | linux.F_SEAL_GROW | linux.F_SEAL_SEAL);
  } catch (error) {
    n.close(fd);
    throw error;
  }
  return fd;
}

/**
 * Makes an executable memory file that holds `bytes`, sealed against every change, to be run with
 * `spawn({ executable: { fd } })` or loaded from `/proc/self/fd/N`. With mode 0111 a program started from it is
 * non-dumpable from its first instruction (for ordinary users). A process of another user that opens it by path
 * needs read permission for others (0555).
 */
export function sealedExecutable(name: string, bytes: Uint8Array, mode = 0o500): number {
  const fd = memfdCreate(name, { exec: true, mode });
  try {
    pwrite(fd, bytes, 0);
    sealMemfd(fd, linux.F_SEAL_SHRINK | linux.F_SEAL_GROW | linux.F_SEAL_WRITE | linux.F_SEAL_SEAL);
  } catch (error) {
    native().close(fd);
    throw error;
  }
  return fd;
}

/** Adds F_SEAL_* flags. @throws OsError EPERM (sealed or not sealable), EBUSY (writable mappings exist) */
export function sealMemfd(fd: number, flags: number): void {
  const n = native();
  let result: number = n.addSeals(fd, flags);
  // Linux waits 150 ms for pages that are held just now, by reclaim for instance (mm/memfd.c), and a busy machine holds them longer.
  // Where a mapping is what is in the way it answers at once, so does this.
  for (let tries = 1; result === -EBUSY && tries < SEAL_TRIES; tries++) result = n.addSeals(fd, flags);
  check(result, 'fcntl', `F_ADD_SEALS of descriptor ${fd}`);
}

/** The F_SEAL_* flags of a memory file. */
export function seals(fd: number): number {
  return check(native().getSeals(fd), 'fcntl', `F_GET_SEALS of descriptor ${fd}`);
}

/** Sets the size in bytes. @throws OsError EPERM when sealed */
export function ftruncate(fd: number, size: number): void {
  check(native().ftruncate(fd, checkInteger(size, 'size')), 'ftruncate', `descriptor ${fd} to ${size}`);
}

/** Size in bytes. */
export function fstatSize(fd: number): number {
  return check(native().fstatSize(fd), 'fstat', `descriptor ${fd}`);
}

/** Bytes of memory that the file occupies: less than its size where it has holes. */
export function fstatAllocated(fd: number): number {
  return check(native().fstatAllocated(fd), 'fstat', `descriptor ${fd}`);
}

/** Reads up to `into.length` bytes at `offset`; fewer only at the end of the file. Returns the count. */
export function pread(fd: number, into: Uint8Array, offset: number): number {
  return check(
    native().pread(fd, into, into.byteLength, checkInteger(offset, 'offset')),
    'pread',
    `descriptor ${fd}`,
  );
}

/** Writes all of `from` at `offset`. @throws OsError EFBIG/EPERM when the file is sealed, ENOSPC */
export function pwrite(fd: number, from: Uint8Array, offset: number): void {
  const done = check(
    native().pwrite(fd, from, from.byteLength, checkInteger(offset, 'offset')),
    'pwrite',
    `descriptor ${fd}`,
  );
  if (done !== from.byteLength) {
    throw new OsError(
      'ENOSPC',
      `pwrite (descriptor ${fd}): only ${done} of ${from.byteLength} bytes written.`,
      {
        errno: 28,
        syscall: 'pwrite',
        advice: 'Free memory, or write within the size of the sealed file.',
      },
    );
  }
}

/** Gives the pages back: reads as zero afterwards, and is unmapped in every process. */
export function punchHole(fd: number, offset: number, length: number): void {
  check(
    native().fallocate(
      fd,
      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      checkInteger(offset, 'offset'),
      checkInteger(length, 'length', 1),
    ),
    'fallocate',
    `punch hole in descriptor ${fd}`,
  );
}

/** Makes sure that the pages exist, so that touching them cannot fail later. @throws OsError ENOSPC, ENOMEM */
export function fallocate(fd: number, offset: number, length: number): void {
  check(
    native().fallocate(fd, 0, checkInteger(offset, 'offset'), checkInteger(length, 'length', 1)),
    'fallocate',
    `descriptor ${fd}`,
  );
}

/** Options of {@link mmap}. */
export interface MapOptions {
  /** Descriptor; without it the memory is anonymous. */
  fd?: number;
  /** Bytes; rounded up to pages by the kernel. */
  length: number;
  /** Offset in the file, a multiple of 4096. */
  offset?: number;
  /** Wanted address; without it the kernel chooses. */
  address?: number;
  /** PROT_* flags, or letters of "rwx". */
  prot: number | string;
  /** Changes go to the file. Default: true with a descriptor. */
  shared?: boolean;
  /** With `address`: refuse (EEXIST) to replace an existing mapping. Default true. */
  noReplace?: boolean;
}

function protection(prot: number | string): number {
  if (typeof prot === 'number') return checkInteger(prot, 'prot', 0, 7);
  if (!/^[rwx-]*$/.test(prot))
    throw new OsError('ARGUMENT_INVALID', `prot is "${prot}", not letters of "rwx".`);
  return (
    (prot.includes('r') ? linux.PROT_READ : 0) |
    (prot.includes('w') ? linux.PROT_WRITE : 0) |
    (prot.includes('x') ? linux.PROT_EXEC : 0)
  );
}

/**
 * Memory mapped into this process. Views of it (`bytes`, `view`) must not be touched after `unmap()`: the engine
 * cannot know, and the process would end.
 */
export class Mapping {
  readonly address: number;
  readonly length: number;
  #bytes: Uint8Array | undefined;
  #mapped = true;

  /** Takes over memory mapped already; use {@link mmap} to map. */
  constructor(address: number, length: number) {
    this.address = address;
    this.length = length;
  }

  /** The whole mapping; at most 4 GiB − 1, use `view()` for parts of longer ones. */
  get bytes(): Uint8Array {
    this.#bytes ??= this.view(0, this.length);
    this.#check();
    return this.#bytes;
  }

  /** Part of the mapping, on a buffer of its own. @throws OsError ARGUMENT_INVALID, MAPPING_CLOSED */
  view(offset: number, length: number): Uint8Array {
    this.#check();
    checkInteger(offset, 'offset', 0, this.length);
    checkInteger(length, 'length', 1, Math.min(MAX_VIEW, this.length - offset));
    return viewOf(this.address + offset, length);
  }

  /** Removes the mapping. A second call does nothing. */
  unmap(): void {
    if (!this.#mapped) return;
    check(native().munmap(this.address, this.length), 'munmap');
    this.#mapped = false;
    this.#bytes = undefined;
  }

  get mapped(): boolean {
    return this.#mapped;
  }

  #check(): void {
    if (!this.#mapped) {
      throw new OsError('MAPPING_CLOSED', `The mapping at 0x${this.address.toString(16)} was unmapped.`, {
        advice: 'Keep the mapping until its last use.',
      });
    }
  }
}

/** Maps memory (mmap(2)). @throws OsError EEXIST (address taken), ENOMEM, EACCES, EPERM */
export function mmap(options: MapOptions): Mapping {
  const length = checkInteger(options.length, 'length', 1);
  const address = checkInteger(options.address ?? 0, 'address');
  const anonymous = options.fd === undefined;
  const shared = options.shared ?? !anonymous;
  let flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
  if (anonymous) flags |= MAP_ANONYMOUS;
  if (address) flags |= options.noReplace === false ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  const at = check(
    native().mmap(
      address,
      length,
      protection(options.prot),
      flags,
      options.fd ?? -1,
      checkInteger(options.offset ?? 0, 'offset'),
    ),
    'mmap',
    `${length} bytes${address ? ` at 0x${address.toString(16)}` : ''}`,
  );
  return new Mapping(at, length);
}

/** Changes the protection of mapped pages. */
export function mprotect(address: number, length: number, prot: number | string): void {
  check(native().mprotect(address, length, protection(prot)), 'mprotect');
}

/** Gives the kernel advice (MADV_*) about mapped pages. */
export function madvise(address: number, length: number, advice: number): void {
  check(native().madvise(address, length, advice), 'madvise');
}

/** Keeps pages in RAM (never in swap). @throws OsError ENOMEM over RLIMIT_MEMLOCK */
export function lockMemory(address: number, length: number): void {
  check(native().mlock(address, length), 'mlock');
}

/**
 * Memory for keys: not in swap, not in core dumps, and with `memfd_secret` (kernels that have it) not even
 * readable by the kernel's own debugging paths. `kind` says which was possible.
 */
export function secretMemory(length: number): { mapping: Mapping; kind: 'secret' | 'locked' | 'plain' } {
  checkInteger(length, 'length', 1);
  const n = native();
  const fd: number = n.memfdSecret();
  if (fd >= 0) {
    try {
      ftruncate(fd, length);
      const mapping = mmap({ fd, length, prot: linux.PROT_READ | linux.PROT_WRITE });
      return { mapping, kind: 'secret' };
    } catch {
      // over RLIMIT_MEMLOCK: locked memory below has the same limit, but says so in `kind`
    } finally {
      n.close(fd);
    }
  }
  const mapping = mmap({ length, prot: linux.PROT_READ | linux.PROT_WRITE });
  madvise(mapping.address, length, linux.MADV_DONTDUMP);
  madvise(mapping.address, length, linux.MADV_WIPEONFORK);
  return { mapping, kind: n.mlock(mapping.address, length) === 0 ? 'locked' : 'plain' };
}

/** Overwrites with zeros. */
export function wipe(bytes: Uint8Array): void {
  if (bytes.byteLength > 0) native().wipe(bytes, bytes.byteLength);
}

/** Address of a byte array's memory; valid while the array is alive. */
export function addressOf(bytes: Uint8Array): number {
  return native().addressOf(bytes);
}
