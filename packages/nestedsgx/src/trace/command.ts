/** Running a command whose machines are traced. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NsgxError } from '@nestedsgx/arch';
import type { TraceSession } from './session.js';

/** After the command, machines that go on are left alone once nothing has come for as long. */
const REST_MS = 300;

/**
 * Runs `command` with NSGX_TRACE naming a socket of the session, and collects records until it has ended.
 * `stdout` false: its output goes to stderr. Returns its exit code, or 128 and the number of the signal that ended it.
 * @throws NsgxError TRACE_COMMAND when it cannot be started
 */
export async function traceCommand(
  session: TraceSession,
  command: readonly string[],
  stdout: boolean,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-trace-'));
  // The terminal's ^C reaches the command, too; what it has done by then is still to be shown.
  const ignore = () => undefined;
  process.on('SIGINT', ignore);
  try {
    const socket = join(folder, 'trace.sock');
    session.listen(socket);
    const [executable, ...args] = resolved(command);
    const child = spawn(executable as string, args, {
      stdio: ['inherit', stdout ? 'inherit' : 2, 'inherit'],
      env: { ...process.env, NSGX_TRACE: socket },
    });
    let ended: number | null = null;
    let failure: Error | null = null;
    child.on('error', (error) => {
      failure = error;
      ended = 127;
    });
    child.on('exit', (code, signal) => {
      ended = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
    });
    let quietSince = Number.POSITIVE_INFINITY;
    await session.run(() => {
      if (ended === null) return false;
      if (quietSince === Number.POSITIVE_INFINITY) quietSince = performance.now();
      return session.open === 0 || performance.now() - quietSince > REST_MS;
    });
    if (failure !== null)
      throw new NsgxError('TRACE_COMMAND', `${command[0]} cannot be run: ${(failure as Error).message}`, {
        cause: failure,
      });
    return ended as unknown as number;
  } finally {
    process.off('SIGINT', ignore);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `nsgx` is this very program, also where it is in no folder of PATH. */
function resolved(command: readonly string[]): string[] {
  if (command[0] !== 'nsgx') return [...command];
  const self = fileURLToPath(new URL('../../../bin/nsgx.mjs', import.meta.url));
  return [process.execPath, self, ...command.slice(1)];
}
