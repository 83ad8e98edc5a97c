/** Where programs of `nsgx bench libos` run: natively, and by `nsgx exec` in one warm confidential VM. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
/** The command. */
export const NSGX = join(HERE, '../../../../bin/nsgx.mjs');
const SOURCES = join(HERE, '../../../../native/libos');
const LIMIT_MS = 40_000;
const END_MS = 3_000;

/** Ways to the host's services; `nsgx exec --io`. */
export const TRANSPORTS = ['ring', 'ocall', 'gate'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** On which side something is measured. */
export type Side = 'native' | Transport;

/** A program, and what its enclave gets. */
export interface Command {
  readonly argv: readonly string[];
  /** Options of `nsgx exec`. */
  readonly options?: readonly string[];
}

/** What it did. */
export interface Output {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** Full path of a program, if this machine has it; scripts that stand for one do not count. */
export function which(name: string): string | undefined {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path) && isElf(path));
}

function isElf(path: string): boolean {
  const start = Buffer.alloc(4);
  const fd = openSync(path, 'r');
  readSync(fd, start);
  closeSync(fd);
  return start.toString('latin1') === '\x7fELF';
}

/** A warm machine and a folder for files. */
export class Stage implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'nsgx-bench-libos-'));
  /** A folder in memory; programs in an enclave have /dev/shm of their own. */
  readonly shm = mkdtempSync('/dev/shm/nsgx-bench-libos-');
  /** Of the machine. */
  readonly socket = join(this.folder, 'cvm.sock');

  private constructor() {
    this.#nsgx(['cvm', 'start', '--socket', this.socket]);
  }

  /** Starts the machine. @throws when `nsgx cvm start` fails */
  static open(): Stage {
    return new Stage();
  }

  /** Runs a program to its end. @throws when it cannot be started, or takes more than forty seconds */
  run(side: Side, command: Command, input = ''): Output {
    const [program = '', ...args] = this.#argv(side, command);
    const start = performance.now();
    const { status, stdout, stderr, error } = spawnSync(program, args, {
      encoding: 'latin1',
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 2 ** 26,
      cwd: this.folder,
      env: environment(),
      input,
    });
    if (error !== undefined) throw error;
    return { status, stdout, stderr, ms: performance.now() - start };
  }

  /** Runs a program that stays, as long as `work` takes. */
  async serving<T>(side: Side, command: Command, work: (server: ChildProcess) => Promise<T>): Promise<T> {
    const [program = '', ...args] = this.#argv(side, command);
    const server = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: this.folder,
      env: environment(),
    });
    let said = '';
    server.stderr.on('data', (text) => {
      said = (said + text).slice(-2000);
    });
    const ended = once(server, 'exit');
    try {
      return await Promise.race([
        work(server),
        ended.then(([status]) => {
          throw new Error(`the server ended with ${status}: ${firstLine(said)}`);
        }),
      ]);
    } finally {
      server.kill('SIGTERM');
      const timer = setTimeout(() => server.kill('SIGKILL'), END_MS);
      await ended;
      clearTimeout(timer);
    }
  }

  /** Compiles a program of native/libos. @throws when gcc fails */
  compile(name: string, ...options: string[]): string {
    const out = join(this.folder, name);
    execFileSync('gcc', ['-O2', join(SOURCES, `${name}.c`), ...options, '-o', out], { stdio: 'pipe' });
    return out;
  }

  /** A new folder on this machine's disk. */
  place(name: string): string {
    const at = join(this.folder, name);
    mkdirSync(at, { recursive: true });
    return at;
  }

  #argv(side: Side, { argv, options = [] }: Command): readonly string[] {
    if (side === 'native') return argv;
    return [process.execPath, NSGX, 'exec', '--socket', this.socket, '--io', side, ...options, '--', ...argv];
  }

  #nsgx(args: readonly string[]): string {
    return execFileSync(process.execPath, [NSGX, ...args], { stdio: 'pipe', encoding: 'utf8' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#nsgx(['cvm', 'stop', '--socket', this.socket]);
    for (const folder of [this.folder, this.shm]) rmSync(folder, { recursive: true, force: true });
  }
}

/** The first line that says something: an error, before its advice. */
export function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.trim() ?? '';
}

function environment(): NodeJS.ProcessEnv {
  const { PATH, HOME, XDG_STATE_HOME } = process.env;
  return { PATH, HOME, XDG_STATE_HOME, LC_ALL: 'C' };
}
