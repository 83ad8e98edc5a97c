import { readdirSync } from 'node:fs';
import * as os from '../src/index.js';

const INDEX = new URL('../src/index.js', import.meta.url).href;

/** Number of open descriptors of this process. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Starts a Node process that runs `code` with this package as `os`. */
export function startNode(code: string, fds: [number, number][] = [], more: Partial<os.SpawnOptions> = {}) {
  return os.spawn({
    executable: process.execPath,
    argv: ['node', '--input-type=module', '-e', `import * as os from '${INDEX}';${code}`],
    env: [],
    fds: [[2, 2], ...fds],
    deathSignal: 'SIGKILL',
    ...more,
  });
}

/** Waits for a child to end and closes its pidfd. */
export function finish(child: { pid: number; pidfd: number }): os.ExitStatus {
  const status = os.waitPidfd(child.pidfd, false)!;
  os.close(child.pidfd);
  return status;
}

/** Runs a small shell script to its end; its standard output. */
export function shell(
  script: string,
  more: Partial<os.SpawnOptions> = {},
): { out: string; status: os.ExitStatus } {
  const [read, write] = os.pipe();
  const child = os.spawn({
    executable: '/bin/sh',
    argv: ['sh', '-c', script],
    env: ['PATH=/usr/bin:/bin'],
    ...more,
    fds: [[1, write], ...(more.fds ?? [])],
  });
  os.close(write);
  let out = '';
  const buffer = new Uint8Array(4096);
  for (;;) {
    const n = os.read(read, buffer);
    if (!n) break;
    out += new TextDecoder().decode(buffer.subarray(0, n));
  }
  os.close(read);
  return { out, status: finish(child) };
}

/** Asserts nothing; waits until `done()` or for `ms`. */
export async function until(done: () => boolean, ms = 5000): Promise<boolean> {
  const end = Date.now() + ms;
  while (!done()) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return true;
}

/** Whether an action throws an OsError with this code. */
export function code(expected: string): (error: unknown) => boolean {
  return (error) => {
    if (error instanceof os.OsError && error.code === expected) return true;
    throw error;
  };
}
