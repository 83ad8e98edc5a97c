/** Floors: what two processes and one foreign call cost without any protocol on top. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  close,
  loadLibrary,
  type Mapping,
  memfdCreate,
  mmap,
  type NativeFunction,
  pidfdSignal,
  setAffinity,
  spawn,
  waitPidfd,
} from '@nestedsgx/os';

const PAGE = 4096;
const SPIN_WORD = 1;
const RESPONSE_WORD = 16;
const CYCLES_QUAD = 16;
const SIGKILL = 9;
/** A partner that spins goes to sleep after this many cycles without a request. */
const PARTNER_SPIN_CYCLES = 4_000_000;

/** Path of a native part of the benchmarks. */
export function nativePart(name: string): string {
  return join(dirname(fileURLToPath(import.meta.url)), '../../../native/build', name);
}

interface FloorLibrary {
  spin: NativeFunction;
  futex: NativeFunction;
  end: NativeFunction;
  memory: NativeFunction;
  free: NativeFunction;
  time: NativeFunction;
  kernel: NativeFunction;
  pause: NativeFunction;
}

let loaded: FloorLibrary | undefined;

/** The native half of the floors. @throws OsError NATIVE_LIBRARY_MISSING */
export function floorLibrary(): FloorLibrary {
  if (loaded) return loaded;
  const library = loadLibrary(nativePart('libnsgx-floor.so'));
  loaded = {
    spin: library.func('uint32_t nsgx_floor_spin(uint64_t page, uint32_t unused, int64_t a, int64_t b)'),
    futex: library.func('uint32_t nsgx_floor_futex(uint64_t page, uint32_t unused, int64_t a, int64_t b)'),
    end: library.func('void nsgx_floor_end(uint64_t page)'),
    memory: library.func('uint64_t nsgx_floor_memory(uint64_t length)'),
    free: library.func('void nsgx_floor_free(uint64_t address, uint64_t length)'),
    pause: library.func('void nsgx_floor_pause(uint64_t cycles)'),
    kernel: library.func('void nsgx_calls_kernel(uint64_t call, uint32_t count)'),
    time: library.func('uint64_t nsgx_floor_time(uint64_t fn, uint64_t a, uint64_t b, uint64_t c)'),
  };
  return loaded;
}

/** A second process on a shared page that answers one request after the other. */
export class Partner implements Disposable {
  readonly #page: Mapping;
  readonly #fd: number;
  readonly #pidfd: number;
  readonly #library = floorLibrary();
  readonly #address: number;

  /** @param cpu where the partner runs; `awake` whether it waits without sleeping */
  constructor(cpu: number, awake: boolean) {
    this.#fd = memfdCreate('nsgx-floor', { size: PAGE });
    this.#page = mmap({ fd: this.#fd, length: PAGE, prot: 'rw', shared: true });
    this.#address = this.#page.address;
    new Uint32Array(this.#page.bytes.buffer, this.#page.bytes.byteOffset, 2)[SPIN_WORD] = awake
      ? PARTNER_SPIN_CYCLES
      : 0;
    const { pid, pidfd } = startPartner(['answer'], this.#fd);
    this.#pidfd = pidfd;
    setAffinity(pid, cpu);
  }

  /** One round trip in which both sides stay awake. */
  readonly spin = (): void => {
    this.#library.spin(this.#address, 2, 0, 0);
  };

  /** One round trip in which both sides sleep. */
  readonly futex = (): void => {
    this.#library.futex(this.#address, 2, 0, 0);
  };

  [Symbol.dispose](): void {
    this.#library.end(this.#address);
    endPartner(this.#pidfd);
    this.#page.unmap();
    close(this.#fd);
  }
}

/** Cycles of INT3 with a handler that leaves by IRETQ, in one process on one CPU. */
export function trapCycles(cpu: number, rounds: number): number {
  const fd = memfdCreate('nsgx-floor', { size: PAGE });
  const page = mmap({ fd, length: PAGE, prot: 'rw', shared: true });
  try {
    const { pid, pidfd } = startPartner(['trap', String(rounds)], fd);
    setAffinity(pid, cpu);
    waitPidfd(pidfd, false);
    close(pidfd);
    const { buffer, byteOffset } = page.bytes;
    if (new Uint32Array(buffer, byteOffset)[RESPONSE_WORD] !== 1)
      throw new Error('the partner process measured no trap');
    return Number(new BigUint64Array(buffer, byteOffset)[CYCLES_QUAD]);
  } finally {
    page.unmap();
    close(fd);
  }
}

function startPartner(args: readonly string[], fd: number): { pid: number; pidfd: number } {
  const executable = nativePart('nsgx-floor');
  return spawn({
    executable,
    argv: ['nsgx-floor', ...args],
    env: [],
    fds: [[3, fd]],
    deathSignal: SIGKILL,
  });
}

function endPartner(pidfd: number): void {
  try {
    pidfdSignal(pidfd, SIGKILL);
  } catch {
    // It ended by itself.
  }
  waitPidfd(pidfd, false);
  close(pidfd);
}
