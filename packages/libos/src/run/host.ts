/** The host's side of a running program: what its library OS asks for, and what it is given. */
import { fstatSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { isatty } from 'node:tty';
import { cpuid, usableCpus } from '@nestedsgx/os';
import { defaultStateDir } from '@nestedsgx/sdk';
import { keptTscHz } from './frequency.js';
import { type RootContents, rootSource } from './root.js';

const CPUID_ENTRY = 24;
const HOST_BYTES = 40;
/** Leaves that C libraries ask; Intel SDM and AMD APM volume 3. */
const LEAVES: readonly (readonly [number, number])[] = [
  ...[0, 1, 2, 4, 5, 6, 7, 0xb, 0xd, 0x14, 0x19].flatMap((leaf) =>
    [4, 7, 0xb, 0xd, 0x14].includes(leaf)
      ? [0, 1, 2, 3].map((sub) => [leaf, sub] as const)
      : [[leaf, 0] as const],
  ),
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d].map((leaf) => [0x8000_0000 + leaf, 0] as const),
];
const WAIT_STEP_MS = 5;

/** What a program may have of its host; everything else is refused. */
export interface HostOptions {
  /** The contents of the root, in the order of the manifest. */
  readonly root: RootContents;
  /** Descriptors for stdin, stdout and stderr; 0, 1 and 2. */
  readonly descriptors?: readonly [number, number, number];
  /** Called with notes of the library OS. */
  readonly onNote?: (text: string) => void;
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function errnoOf(error: unknown): bigint {
  const name = (error as NodeJS.ErrnoException).code ?? '';
  const number = (constants.errno as Record<string, number>)[name];
  return -BigInt(number ?? constants.errno.EIO);
}

/** Kind of a descriptor: 0 closed, 1 terminal, 2 pipe, 3 file. */
function kindOf(fd: number): number {
  try {
    const status = fstatSync(fd);
    if (status.isCharacterDevice()) return isatty(fd) ? 1 : 3;
    return status.isFile() ? 3 : 2;
  } catch {
    return 0;
  }
}

/** struct libos_host with the CPUID table. */
export function hostFacts(descriptors: readonly number[] = [0, 1, 2]): Uint8Array {
  const bytes = new Uint8Array(HOST_BYTES + LEAVES.length * CPUID_ENTRY);
  const view = new DataView(bytes.buffer);
  descriptors.forEach((fd, i) => {
    view.setUint32(4 * i, kindOf(fd), true);
  });
  view.setUint32(12, process.stdout.rows ?? 0, true);
  view.setUint32(16, process.stdout.columns ?? 0, true);
  view.setUint32(20, LEAVES.length, true);
  view.setBigUint64(24, BigInt(Math.round(keptTscHz(join(defaultStateDir(), 'tsc.json')))), true);
  view.setUint32(32, usableCpus().length, true);
  LEAVES.forEach(([leaf, subleaf], i) => {
    const at = HOST_BYTES + i * CPUID_ENTRY;
    [leaf, subleaf, ...cpuid(leaf, subleaf)].forEach((value, k) => {
      view.setUint32(at + 4 * k, value >>> 0, true);
    });
  });
  return bytes;
}

/** The OCALL handlers of one program (interface.ts). Everything is synchronous, as the call that runs it is. */
export function hostHandlers(options: HostOptions) {
  const descriptors = options.descriptors ?? [0, 1, 2];
  const root = rootSource(options.root);

  return {
    host_write(fd: number, data: Uint8Array): bigint {
      if (fd !== 1 && fd !== 2) return -BigInt(constants.errno.EBADF);
      for (let done = 0; ; ) {
        try {
          done += writeSync(descriptors[fd], data, done);
          if (done >= data.length) return BigInt(done);
        } catch (error) {
          // A descriptor that somebody made non-blocking is waited for, as the program expects of it.
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN')
            return done > 0 ? BigInt(done) : errnoOf(error);
          sleep(WAIT_STEP_MS);
        }
      }
    },
    host_read(fd: number, length: number): Uint8Array {
      const answer = new Uint8Array(8 + Math.min(length, 65536));
      const view = new DataView(answer.buffer);
      if (fd !== 0) {
        view.setBigInt64(0, -BigInt(constants.errno.EBADF), true);
        return answer.subarray(0, 8);
      }
      for (;;) {
        try {
          const got = readSync(descriptors[0], answer, 8, answer.length - 8, null);
          view.setBigInt64(0, BigInt(got), true);
          return answer.subarray(0, 8 + got);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          if (code !== 'EAGAIN') {
            view.setBigInt64(0, code === 'EOF' ? 0n : errnoOf(error), true);
            return answer.subarray(0, 8);
          }
          sleep(WAIT_STEP_MS);
        }
      }
    },
    root_read(offset: bigint, length: number): Uint8Array {
      return root.read(Number(offset), length);
    },
    host_clock(): Uint8Array {
      const now = new BigUint64Array(2);
      now[0] = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
      now[1] = process.hrtime.bigint();
      return new Uint8Array(now.buffer);
    },
    host_wait(fds: number, timeout: bigint): number {
      // Input is taken as ready: reading it waits. Without descriptors this is a sleep.
      if (fds !== 0) return fds;
      sleep(timeout < 0n ? Number.POSITIVE_INFINITY : Number(timeout));
      return 0;
    },
    note(text: Uint8Array): void {
      options.onNote?.(Buffer.from(text).toString('utf8'));
    },
  };
}
