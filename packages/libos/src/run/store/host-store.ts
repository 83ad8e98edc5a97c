/**
 * The host's half of a store: one file, which the library OS reads and writes at positions like any granted descriptor, and
 * the moments at which it has to be durable. Its contents are ciphertext; nothing here can tell what is in it.
 */
import {
  closeSync,
  fdatasyncSync,
  constants as files,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
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
}

/** A commit: its number, and the MAC of its root. */
export interface StoreVersion {
  readonly version: bigint;
  /** 64 hexadecimal digits. */
  readonly mac: string;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Two programs at once would destroy it: the file names who has it. */
function take(path: string): void {
  for (let tries = 0; ; tries++)
    try {
      writeFileSync(path, `${process.pid}`, { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tries > 0) throw error;
      const owner = Number(readFileSync(path, 'utf8'));
      if (owner > 0 && alive(owner))
        throw libosError('STORE_BUSY', `process ${owner} uses the store`, {
          advice: `Wait for its end; if it has nothing to do with it, remove ${path}.`,
        });
      rmSync(path);
    }
}

/** One program's store. */
export class HostStore {
  /** The last commit of this run. */
  version: StoreVersion | undefined;
  readonly #fd: number;
  readonly #lock: string;
  readonly #least: bigint;
  readonly #grant: (fd: number) => number;

  /**
   * @param grant gives a descriptor to the program, which closes it
   * @throws STORE_UNREADABLE, STORE_BUSY
   */
  constructor(options: StoreOptions, grant: (fd: number) => number) {
    this.#grant = grant;
    this.#least = options.version ?? 0n;
    this.#lock = join(options.path, 'lock');
    try {
      mkdirSync(options.path, { recursive: true, mode: 0o700 });
      take(this.#lock);
      this.#fd = openSync(join(options.path, 'blocks'), O_RDWR | O_CREAT, 0o600);
      this.#settle(options.path);
    } catch (cause) {
      if ((cause as { code?: string }).code === 'STORE_BUSY') throw cause;
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
        return words(BigInt(granted), BigInt(fstatSync(this.#fd).size), this.#least);
      },
      store_sync: (version: bigint, mac: Uint8Array): bigint => {
        try {
          fdatasyncSync(this.#fd);
        } catch (error) {
          return -BigInt(
            (constants.errno as Record<string, number>)[(error as NodeJS.ErrnoException).code ?? ''] ?? 5,
          );
        }
        if (version > 0n) this.version = { version, mac: Buffer.from(mac).toString('hex') };
        return 0n;
      },
    };
  }

  close(): void {
    closeSync(this.#fd);
    rmSync(this.#lock, { force: true });
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
  store_open: (): Uint8Array => words(-BigInt(constants.errno.ENOENT), 0n, 0n),
  store_sync: (): bigint => -BigInt(constants.errno.EBADF),
});

function words(...values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values).buffer);
}
