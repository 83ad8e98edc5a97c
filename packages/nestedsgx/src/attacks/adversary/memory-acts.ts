/** Attacks on memory that a guest holds: its own raw mapping, written and read at any time. */
import { SLICES_GPA } from '@nestedsgx/machine';
import {
  F_SEAL_EXEC,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_WRITE,
  ftruncate,
  futexRequeue,
  guardedCopy,
  mmap,
  pread,
  punchHole,
  pwrite,
  sealMemfd,
} from '@nestedsgx/os';
import { RawGuest } from './raw-guest.js';
import { bytes64, generator, nameOf, ramOf, text64, type World } from './world.js';

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
const PIECE = 4 * 2 ** 20;

/** One way of reading guest-physical memory, and what came of it (base64, or null with the reason). */
export interface ReadAttempt {
  way: string;
  bytes: string | null;
  why: string;
}

export const memoryActs = {
  /** Maps guest RAM from the descriptor this process was started with. */
  map(world: World, { base, size }: { base: number; size: number }): void {
    world.ram = new RawGuest(4, base, size);
  },

  /** Reads `length` bytes at `gpa` in every way that guest RAM's mapping and descriptor offer. */
  read(world: World, { gpa, length }: { gpa: number; length: number }): ReadAttempt[] {
    const ram = ramOf(world);
    return [
      attempt('address base + gPA', () => copyFrom(ram.base + gpa, length)),
      attempt('mmap of the RAM file at that offset', () => {
        const page = Math.floor(gpa / 4096) * 4096;
        const mapping = mmap({ fd: ram.fd, length: 8192, offset: page, prot: 'rw', shared: true });
        try {
          return copyFrom(mapping.address + (gpa - page), length);
        } finally {
          mapping.unmap();
        }
      }),
      attempt('pread of the RAM file at that offset', () => {
        const bytes = new Uint8Array(length);
        const got = pread(ram.fd, bytes, gpa);
        if (got < length) throw new Error(`end of the file after ${got} bytes`);
        return bytes;
      }),
    ];
  },

  /** Reads through this process's own mapping only. */
  peek(world: World, { gpa, length }: { gpa: number; length: number }): string {
    return text64(copyFrom(ramOf(world).base + gpa, length));
  },

  /** Writes through this process's own mapping. */
  poke(world: World, { gpa, bytes }: { gpa: number; bytes: string }): void {
    const from = bytes64(bytes);
    if (!guardedCopy(ramOf(world).base + gpa, from, from.length)) throw new Error('the write faulted');
  },

  /** Offsets in all of guest RAM at which `needle` lies (at most ten). */
  search(world: World, { needle }: { needle: string }): number[] {
    const { fd, size } = ramOf(world);
    const wanted = Buffer.from(needle, 'base64');
    const found: number[] = [];
    const buffer = Buffer.alloc(PIECE + wanted.length);
    for (let at = 0; at < size; at += PIECE) {
      const got = pread(fd, buffer, at);
      for (let hit = buffer.subarray(0, got).indexOf(wanted); hit >= 0 && found.length < 10; ) {
        found.push(at + hit);
        hit = buffer.subarray(0, got).indexOf(wanted, hit + 1);
      }
    }
    return found;
  },

  /** Writes `one` and `two` at `gpa` in turn, as fast as it goes, for `ms`. Ends with `one`. Returns the rounds. */
  toggle(world: World, { gpa, one, two, ms }: { gpa: number; one: string; two: string; ms: number }): number {
    const { bytes } = ramOf(world);
    const [first, second] = [bytes64(one), bytes64(two)];
    const deadline = performance.now() + ms;
    let rounds = 0;
    const random = generator(gpa);
    while (performance.now() < deadline) {
      for (let i = 0; i < 64; i++, rounds++) {
        bytes.set(rounds & 1 ? first : second, gpa);
        for (let wait = random() & 0xff; wait > 0; wait--) rounds |= 0;
      }
    }
    bytes.set(first, gpa);
    return rounds;
  },

  /**
   * Writes random bytes, words and half lines to random places of `pages` for `ms`, but not to the words at the offsets
   * `spared`. Returns the writes.
   */
  scribble(
    world: World,
    args: { pages: number[]; seed: number; ms: number; gapUs: number; spared: readonly number[] },
  ): number {
    const { bytes } = ramOf(world);
    const spared = new Set(args.spared.flatMap((offset) => [0, 1, 2, 3].map((i) => offset + i)));
    const random = generator(args.seed);
    const deadline = performance.now() + args.ms;
    let writes = 0;
    let next = performance.now();
    while (performance.now() < deadline) {
      if (performance.now() < next) continue;
      next = performance.now() + args.gapUs / 1000;
      writes++;
      // Most writes go to the lines that both sides use; lengths are a byte, a word, or half a line.
      const page = args.pages[random() % args.pages.length]!;
      const span = random() % 4 === 0 ? 4096 : 256;
      const size = [1, 4, 8, 32][random() & 3]!;
      const at = random() % (span - size);
      const small = random() & 1;
      for (let i = at; i < at + size; i++)
        if (!spared.has(i)) bytes[page + i] = small ? random() & 7 : random();
    }
    return writes;
  },

  /** Tries to change the size and the seals of the file; `why` is null for what was granted. */
  breakFile(world: World): { what: string; why: string | null }[] {
    const { fd, size } = ramOf(world);
    const tries: [string, () => void][] = [
      ['truncating it', () => ftruncate(fd, 0)],
      ['shrinking it by a page', () => ftruncate(fd, size - 4096)],
      ['growing it', () => ftruncate(fd, size + 4096)],
      ['sealing it against writing', () => sealMemfd(fd, F_SEAL_WRITE)],
      ['sealing it against new writers', () => sealMemfd(fd, F_SEAL_FUTURE_WRITE)],
      ['sealing its execute bits', () => sealMemfd(fd, F_SEAL_EXEC)],
    ];
    return tries.map(([what, action]) => {
      try {
        action();
        return { what, why: null };
      } catch (error) {
        return { what, why: nameOf(error) };
      }
    });
  },

  /** Punches one hole into the file. */
  hole(world: World, { gpa, length }: { gpa: number; length: number }): void {
    punchHole(ramOf(world).fd, gpa, length);
  },

  /** Writes `bytes` at `gpa` in every way that guest RAM's mapping and descriptor offer; `why` is null for what was done. */
  write(world: World, { gpa, bytes }: { gpa: number; bytes: string }): { way: string; why: string | null }[] {
    const ram = ramOf(world);
    const from = bytes64(bytes);
    const tries: [string, () => void][] = [
      [
        'address base + gPA',
        () => {
          if (!guardedCopy(ram.base + gpa, from, from.length)) throw new Error('the access faulted');
        },
      ],
      [
        'mmap of the RAM file at that offset',
        () => {
          const page = Math.floor(gpa / 4096) * 4096;
          const mapping = mmap({ fd: ram.fd, length: 8192, offset: page, prot: 'rw', shared: true });
          try {
            const at = mapping.address + (gpa - page);
            if (!guardedCopy(at, from, from.length)) throw new Error('the access faulted');
          } finally {
            mapping.unmap();
          }
        },
      ],
      ['pwrite of the RAM file at that offset', () => pwrite(ram.fd, from, gpa)],
      ['a hole in the RAM file at that offset', () => punchHole(ram.fd, Math.floor(gpa / 4096) * 4096, 4096)],
    ];
    return tries.map(([way, action]) => {
      try {
        action();
        return { way, why: null };
      } catch (error) {
        return { way, why: nameOf(error) };
      }
    });
  },

  /** Punches holes into everything below the guests' slices, for `ms`. Returns the number of holes. */
  punch(world: World, { ms }: { ms: number }): number {
    const { fd } = ramOf(world);
    const deadline = performance.now() + ms;
    let holes = 0;
    while (performance.now() < deadline) {
      punchHole(fd, 0, SLICES_GPA);
      holes++;
      Atomics.wait(PAUSE, 0, 0, 3);
    }
    return holes;
  },

  /** Moves sleepers of the futex words at `words` to other words for `ms`; returns how many were moved. */
  requeue(world: World, { words, to, ms }: { words: number[]; to: number; ms: number }): number {
    const { base } = ramOf(world);
    const deadline = performance.now() + ms;
    let moved = 0;
    while (performance.now() < deadline) {
      for (let i = 0; i < 64; i++)
        for (const word of words) {
          try {
            moved += futexRequeue(base + word, base + to, 0, 64);
          } catch {
            // A word that changed in between.
          }
        }
      Atomics.wait(PAUSE, 0, 0, 0.05);
    }
    return moved;
  },
};

function copyFrom(address: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  if (!guardedCopy(bytes, address, length)) throw new Error('the access faulted');
  return bytes;
}

function attempt(way: string, read: () => Uint8Array): ReadAttempt {
  try {
    return { way, bytes: text64(read()), why: '' };
  } catch (error) {
    return { way, bytes: null, why: nameOf(error) };
  }
}
