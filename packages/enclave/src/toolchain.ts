/** The system's gcc: finding it, asking its version, running it. */
import { spawn } from 'node:child_process';
import { enclaveError } from './errors.js';

/** Oldest gcc that is supported. */
export const OLDEST_GCC = 10;

/** A compiler that was found and can be used. */
export interface Toolchain {
  /** Command or path of gcc. */
  readonly gcc: string;
  /** First line of `gcc --version`. */
  readonly gccVersion: string;
  /** First line of `ld --version`. */
  readonly ldVersion: string;
  /** gcc's own header folder (stdint.h, immintrin.h …). */
  readonly includeDir: string;
}

/** What a command left behind. */
export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT = 4 * 1024 * 1024;
const INSTALL = 'Install it: sudo apt install gcc';

/** Runs a command without a shell, in the C locale and with no variable that changes what gcc does. */
export function run(command: string, args: readonly string[], cwd?: string): Promise<RunResult> {
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    LC_ALL: 'C',
    LANGUAGE: 'C',
  };
  if (process.env['TMPDIR'] !== undefined) env['TMPDIR'] = process.env['TMPDIR'];
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const parts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8');
      child[name].on('data', (text: string) => {
        if (parts[name].length < MAX_OUTPUT) parts[name] += text;
      });
    }
    child.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') {
        reject(
          enclaveError('TOOLCHAIN_MISSING', `there is no ${command} on this machine`, {
            cause,
            advice: INSTALL,
          }),
        );
      } else {
        reject(
          enclaveError('TOOLCHAIN_MISSING', `${command} cannot be run: ${cause.message}`, {
            cause,
            advice: INSTALL,
          }),
        );
      }
    });
    child.on('close', (code) => resolve({ code: code ?? 1, ...parts }));
  });
}

async function ask(gcc: string, ...args: string[]): Promise<string> {
  const result = await run(gcc, args);
  if (result.code !== 0) {
    throw enclaveError(
      'TOOLCHAIN_VERSION',
      `${gcc} ${args.join(' ')} failed: ${result.stderr.trim().slice(0, 200)}`,
      {
        advice: INSTALL,
      },
    );
  }
  return result.stdout.trim();
}

/**
 * Finds gcc (`$NSGX_CC`, else `gcc`) and its linker.
 *
 * Throws TOOLCHAIN_MISSING with the command that installs it, and TOOLCHAIN_VERSION for a compiler that is older than
 * {@link OLDEST_GCC} or not for x86-64.
 */
export async function findToolchain(gcc = process.env['NSGX_CC'] ?? 'gcc'): Promise<Toolchain> {
  const [machine, version, banner, includeDir, ld] = await Promise.all([
    ask(gcc, '-dumpmachine'),
    ask(gcc, '-dumpfullversion'),
    ask(gcc, '--version'),
    ask(gcc, '-print-file-name=include'),
    ask(gcc, '-nostdlib', '-Wl,--version'),
  ]);
  if (!machine.startsWith('x86_64')) {
    throw enclaveError('TOOLCHAIN_VERSION', `${gcc} compiles for ${machine}, enclaves are x86-64`, {
      advice: 'Install gcc-x86-64-linux-gnu and set NSGX_CC to x86_64-linux-gnu-gcc.',
    });
  }
  const major = Number.parseInt(version, 10);
  if (!(major >= OLDEST_GCC)) {
    throw enclaveError(
      'TOOLCHAIN_VERSION',
      `${gcc} is version ${version}, at least ${OLDEST_GCC} is needed`,
      {
        advice: 'Install a newer gcc and set NSGX_CC to it.',
      },
    );
  }
  return { gcc, gccVersion: banner.split('\n')[0], ldVersion: ld.split('\n')[0], includeDir };
}
