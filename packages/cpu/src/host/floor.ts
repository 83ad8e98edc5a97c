import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  close,
  type Mapping,
  memfdCreate,
  mmap,
  pidfdSignal,
  setAffinity,
  spawn,
  waitPidfd,
} from '@nestedsgx/os';
import { loadGateLibrary } from './library.js';

const PAGE = 4096;
const SIGKILL = 9;
const SPIN_ROUNDS = 100_000;

/**
 * The floor that transitions are measured against: a second process that answers a shared word and does nothing
 * else, called through the same foreign-function path as a gate.
 */
export class TransitionFloor {
  readonly #page: Mapping;
  readonly #pidfd: number;
  readonly pid: number;
  readonly #call: (page: number) => void;

  /** @param spin true: both sides spin (they need a CPU each); false: both sleep on the futex */
  constructor(spin: boolean, program?: string) {
    const file = program ?? join(dirname(fileURLToPath(import.meta.url)), '../../../native/build/nsgx-floor');
    const fd = memfdCreate('nsgx-floor', { size: PAGE });
    try {
      this.#page = mmap({ fd, length: PAGE, prot: 'rw', shared: true });
      new Uint32Array(this.#page.bytes.buffer, this.#page.bytes.byteOffset, 2)[1] = spin ? SPIN_ROUNDS : 0;
      const child = spawn({
        executable: file,
        argv: ['nsgx-floor'],
        env: [],
        fds: [[3, fd]],
        deathSignal: SIGKILL,
      });
      this.pid = child.pid;
      this.#pidfd = child.pidfd;
    } finally {
      close(fd);
    }
    this.#call = loadGateLibrary().floorEnter;
  }

  /** Keeps the other process on one CPU. */
  pin(cpu: number): void {
    setAffinity(this.pid, cpu);
  }

  /** One round trip. */
  enter(): void {
    this.#call(this.#page.address);
  }

  close(): void {
    pidfdSignal(this.#pidfd, SIGKILL);
    waitPidfd(this.#pidfd, false);
    close(this.#pidfd);
    this.#page.unmap();
  }
}
