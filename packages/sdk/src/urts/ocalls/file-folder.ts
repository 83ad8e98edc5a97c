/** The folder that an enclave's files are confined to. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { constants as system } from 'node:os';
import { OsError } from '@nestedsgx/os';
import { sdkError } from '../../errors.js';

/** Linux's O_PATH, which Node does not name: a place in the file system, without the right to read it. */
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
const ANYBODY = 0o666;

/** Error numbers that are answered to enclaves. */
export const ERRNO = system.errno;

/** A refusal with an error number, as a system call's. */
class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`error number ${errno}`);
    this.errno = errno;
  }
}

/** Ends an operation with an error number. */
export function refuse(errno: number): never {
  throw new Refusal(errno);
}

/** The positive error number of what a file operation threw. @throws what is no failure of an operation */
export function errnoOf(error: unknown): number {
  if (error instanceof Refusal || (error instanceof OsError && error.errno > 0)) return error.errno;
  const { errno, syscall } = error as { errno?: unknown; syscall?: unknown };
  if (typeof errno === 'number' && errno < 0 && typeof syscall === 'string') return -errno;
  if ((error as { code?: unknown }).code === 'GUEST_MEMORY_EXHAUSTED') return ERRNO.ENOMEM;
  throw error;
}

/**
 * Files below one folder, by the names that an enclave uses: relative ones count from the folder, absolute ones must lead
 * into it. Wherever `..` and symbolic links on the way lead, the folder of the file must lie inside; that is looked at on the
 * opened folder, so that nobody can exchange it in between. A symbolic link in place of the file is refused.
 */
export class FileFolder {
  readonly #root: string;

  /** @throws ENCLAVE_FILES_FOLDER when `folder` is no folder */
  constructor(folder: string) {
    try {
      this.#root = realpathSync(folder);
      if (!statSync(this.#root).isDirectory()) throw new Error('it is not a folder');
    } catch (cause) {
      throw sdkError(
        'ENCLAVE_FILES_FOLDER',
        `the folder ${folder} for protected files cannot be used: ${(cause as Error).message}`,
        'make it, or give another in the option files',
        cause,
      );
    }
  }

  /** Opens a regular file. `flags` are those of open(2). @throws what `errnoOf` knows */
  open(name: string | null, flags: number): number {
    return this.#at(name, (path) => {
      // Without O_NONBLOCK, opening a pipe would stop the process.
      const fd = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, ANYBODY);
      if (fstatSync(fd).isFile()) return fd;
      closeSync(fd);
      return refuse(ERRNO.EACCES);
    });
  }

  /** Whether there is something of that name. @throws what `errnoOf` knows, for names outside of the folder */
  exists(name: string | null): boolean {
    return this.#at(name, (path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  }

  remove(name: string | null): void {
    this.#at(name, (path) => unlinkSync(path));
  }

  /** Runs `body` with a path to a name in its opened folder. */
  #at<T>(name: string | null, body: (path: string) => T): T {
    if (name === null || name === '') return refuse(ERRNO.EINVAL);
    const slash = name.lastIndexOf('/');
    const last = name.slice(slash + 1);
    if (last === '' || last === '.' || last === '..') return refuse(ERRNO.EISDIR);
    const parent = name.startsWith('/')
      ? name.slice(0, slash + 1)
      : `${this.#root}/${name.slice(0, slash + 1)}`;
    const folder = openSync(parent, O_PATH | O_DIRECTORY);
    try {
      const real = readlinkSync(`/proc/self/fd/${folder}`);
      const inside = real === this.#root || real.startsWith(this.#root === '/' ? '/' : `${this.#root}/`);
      return inside ? body(`/proc/self/fd/${folder}/${last}`) : refuse(ERRNO.EACCES);
    } finally {
      closeSync(folder);
    }
  }
}
