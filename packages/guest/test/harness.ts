/** Starts the stand-in confidential VM and connects to it. */
import { fileURLToPath } from 'node:url';
import { close, pidfdSignal, socketpair, spawn, waitPid } from '@nestedsgx/os';
import { GuestConnection } from '../src/index.js';

let slot = 0;

export interface Fake {
  socket: number;
  pid: number;
  pidfd: number;
  base: number;
  stop(): void;
}

/** Starts the stand-in with a behaviour of fake-cvm.ts. */
export function startFake(mode = 'normal'): Fake {
  const base = 0x1000_0000_0000 + (20 + (slot++ % 40)) * 2 ** 34;
  const [ours, theirs] = socketpair();
  const script = fileURLToPath(new URL('./fake-cvm.js', import.meta.url));
  const { pid, pidfd } = spawn({
    executable: process.execPath,
    argv: ['node', '--no-warnings', script, mode, String(base)],
    env: [],
    fds: [
      [1, 1],
      [2, 2],
      [3, theirs],
    ],
    deathSignal: 9,
  });
  close(theirs);
  const stop = () => {
    try {
      pidfdSignal(pidfd, 9);
    } catch {
      // It has ended by itself.
    }
    waitPid(pid, false);
    close(pidfd);
  };
  return { socket: ours, pid, pidfd, base, stop };
}

/** A connection to a fresh stand-in; runs `body`, then closes both. */
export async function withFake(
  mode: string,
  body: (connection: GuestConnection, fake: Fake) => void | Promise<void>,
): Promise<void> {
  const fake = startFake(mode);
  try {
    const connection = await GuestConnection.attach(fake.socket, { timeoutMs: 5000 });
    try {
      await body(connection, fake);
    } finally {
      connection.close();
    }
  } finally {
    fake.stop();
  }
}

/** The `code` of the error that `body` throws. */
export function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
  return 'nothing thrown';
}
