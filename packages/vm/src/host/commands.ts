/** Running programs of this machine to their end. */
import { spawn } from 'node:child_process';

/** Permissions of folders: the cache lies in the state directory, which keeps the chip's secrets. */
export const PRIVATE = 0o700;

const OUTPUT_LIMIT = 2 ** 20;

/** How a program ended; `output` is what it wrote to either stream, its end if it was much. */
export interface CommandResult {
  readonly status: number | null;
  readonly output: string;
  readonly error?: Error;
}

/** Runs a program without a shell, without input, and waits for it. Never throws. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; timeoutMs?: number } = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? 300_000,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const add = (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(-OUTPUT_LIMIT);
    };
    child.stdout.on('data', add);
    child.stderr.on('data', add);
    child.on('error', (error) => resolve({ status: null, output, error }));
    child.on('close', (status) => resolve({ status, output }));
  });
}
