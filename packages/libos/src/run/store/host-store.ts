/**
 * The host's half of a store: one file, which the library OS reads and writes at positions like any granted descriptor, and
 * the moments at which it has to be durable. Its contents are ciphertext; nothing here can tell what is in it.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  fdatasyncSync,
  constants as files,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { libosError } from '../../errors.js';

const { O_RDWR, O_CREAT } = files;

/** Where a store is kept. */
export interface StoreOptions {
  /** A folder of the host; made when it is missing. */
  readonly path: string;
  /** The lowest version that is good enough. An older one, and none at all, is refused by the library OS. */
  readonly version?: bigint;
  /**
   * Makes what was written to a descriptor durable, for hosts that have more to do for that than fdatasync (which is what is
   * done without it, and quicker); throws what made that impossible.
   */
  readonly sync?: (fd: number) => void;
}

/** A commit: its number, and the MAC of its root. */
export interface StoreVersion {
  readonly version: bigint;
  /** 64 hexadecimal digits. */
  readonly mac: string;
}

/** Who has a lock: a process of this start of the machine, and which of those that had the same number; "" of a damaged one. */
function startOf(pid: number | 'self'): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // Behind the name, which may have any characters: the 22nd field is when it began.
    const began = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
    return `${boot}/${began}`;
  } catch {
    return '';
  }
}

function alive(owner: string): boolean {
  const [pid = 0, start] = owner.split(' ');
  if (!(Number(pid) > 0)) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const present = startOf(Number(pid));
  return start === undefined || present === '' || present === start;
}

/** The text of a lock; nothing when there is none. */
function ownerOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whether the lock was free: it is there with its text or not at all. */
function linked(own: string, path: string): boolean {
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Two programs at once would destroy a store: the file names who has it. That of a dead one is replaced by who has the lock
 * for doing so, which is another one for each dead one: so of several only one finds it still there.
 */
function take(path: string, own: string): void {
  while (!linked(own, path)) {
    const owner = ownerOf(path);
    if (owner === undefined) continue;
    if (alive(owner))
      throw libosError('STORE_BUSY', `process ${owner.split(' ')[0]} uses the store`, {
        advice: `Wait for its end; if it has nothing to do with it, remove ${path}.`,
      });
    const replacing = `${path}.${createHash('sha256').update(owner).digest('hex').slice(0, 32)}`;
    take(replacing, own);
    try {
      if (ownerOf(path) !== owner) continue;
      // Not `own` itself: renaming one name of a file to another of the same does nothing.
      const next = `${own}.next`;
      copyFileSync(own, next);
      renameSync(next, path);
      return;
    } finally {
      rmSync(replacing, { force: true });
    }
  }
}

/** Takes the lock of a folder; returns its text. */
function lock(path: string): string {
  const text = `${process.pid} ${startOf('self')} ${randomUUID()}`;
  const own = `${path}.${randomUUID()}`;
  try {
    writeFileSync(own, text, { flag: 'wx', mode: 0o600 });
    take(path, own);
    return text;
  } finally {
    rmSync(own, { force: true });
  }
}

/** One program's store. */
export class HostStore {
  /** The last commit of this run. */
  version: StoreVersion | undefined;
  readonly #fd: number;
  readonly #lock: string;
  readonly #owner: string | undefined;
  readonly #least: bigint;
  readonly #sync: StoreOptions['sync'];
  readonly #grant: (fd: number) => number;

  /**
   * @param grant gives a descriptor to the program, which closes it
   * @throws STORE_UNREADABLE, STORE_BUSY
   */
  constructor(options: StoreOptions, grant: (fd: number) => number) {
    this.#grant = grant;
    this.#least = options.version ?? 0n;
    this.#sync = options.sync;
    this.#lock = join(options.path, 'lock');
    try {
      mkdirSync(options.path, { recursive: true, mode: 0o700 });
      this.#owner = lock(this.#lock);
      this.#fd = openSync(join(options.path, 'blocks'), O_RDWR | O_CREAT, 0o600);
      this.#settle(options.path);
    } catch (cause) {
      if ((cause as { code?: string }).code === 'STORE_BUSY') throw cause;
      this.#unlock();
      throw libosError('STORE_UNREADABLE', `${options.path}: ${(cause as Error).message}`, {
        cause,
        advice: 'Check the path and who may write there.',
      });
    }
  }

  handlers() {
    return {
      store_open: (): Uint8Array => {
        // A descriptor of its own, since the program's end closes it.
        const granted = this.#grant(openSync(`/proc/self/fd/${this.#fd}`, 'r+'));
        const asked = this.#sync === undefined ? 0n : 1n;
        return words(BigInt(granted), BigInt(fstatSync(this.#fd).size), this.#least, asked);
      },
      store_sync: (version: bigint, mac: Uint8Array): bigint => {
        if (version > 0n) {
          this.version = { version, mac: Buffer.from(mac).toString('hex') };
          return 0n;
        }
        try {
          (this.#sync ?? fdatasyncSync)(this.#fd);
        } catch (error) {
          return -BigInt(
            (constants.errno as Record<string, number>)[(error as NodeJS.ErrnoException).code ?? ''] ?? 5,
          );
        }
        return 0n;
      },
    };
  }

  close(): void {
    closeSync(this.#fd);
    this.#unlock();
  }

  #unlock(): void {
    // Somebody may have removed it by hand, and another taken it.
    if (this.#owner !== undefined && ownerOf(this.#lock) === this.#owner) rmSync(this.#lock, { force: true });
  }

  /** The name of a new file is durable too. */
  #settle(folder: string): void {
    const fd = openSync(folder, 'r');
    fsyncSync(fd);
    closeSync(fd);
  }
}

/** For programs without a store. */
export const noStore = Object.freeze({
  store_open: (): Uint8Array => words(-BigInt(constants.errno.ENOENT), 0n, 0n, 0n),
  store_sync: (): bigint => -BigInt(constants.errno.EBADF),
});

function words(...values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values).buffer);
}
