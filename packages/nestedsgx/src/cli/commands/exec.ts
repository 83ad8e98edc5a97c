import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  appFacts,
  checkPolicy,
  forwardSignals,
  isAppImage,
  KeptImages,
  type MountPlace,
  maySet,
  NET_MODES,
  type NetMode,
  openAppImage,
  type ProgramImage,
  type ProgramPolicy,
  type RunResult,
  runProgram,
  TRANSPORTS,
  type Transport,
} from '@nestedsgx/libos/run';
import { defaultStateDir } from '@nestedsgx/sdk';
import { type Command, Option } from 'commander';
import { execKey } from '../exec-key.js';
import { findProgram, NOT_EXECUTABLE, NOT_FOUND } from '../find-program.js';
import { type MachineOptions, openMachine, withMachineOptions } from '../machine-options.js';
import { checkMounts, parseMount, parseStart } from '../mount-options.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { announce } from '../running.js';
import { provisionOf, type StoreRunOptions, storeKeyOf, storeOf, withStoreKey } from '../store-options.js';
import { ExitWith, reportError, type Terminal, UsageError } from '../terminal.js';

const MIB = 2 ** 20;
const ADDR_NO_RANDOMIZE = 0x0040000;
/** How a shell ends when it cannot start a program. */
const STATUS: Readonly<Record<string, number>> = {
  PROGRAM_MISSING: NOT_FOUND,
  PROGRAM_MALFORMED: NOT_EXECUTABLE,
  PROGRAM_FIXED_ADDRESS: NOT_EXECUTABLE,
};
/** Variables that programs get without being asked for. */
const PASSED = ['TERM', 'LANG', 'LC_ALL', 'TZ'];
const USUAL = ['PATH=/usr/local/bin:/usr/bin:/bin', 'HOME=/'];

interface ExecOptions extends MachineOptions, StoreRunOptions {
  copy: string[];
  env: string[];
  memory?: string;
  files?: string;
  stack?: string;
  key?: string;
  debug?: boolean;
  io?: Transport;
  net?: NetMode;
  mount: string[];
  cwd?: string;
  stats?: boolean;
  verbose?: boolean;
  jit?: boolean;
  package: boolean;
}

/** What is run: an image, and what the program is told. */
interface Prepared {
  readonly program: ProgramImage;
  readonly argv: readonly string[];
  readonly environment: readonly string[];
  readonly sites: string;
  /** Where the key server of its store listens, if the image says so. */
  readonly keyServer?: string;
  close(): void;
}

export const execCommand: CommandModule = {
  name: 'exec',
  register(program: Command, act: ActionWrapper): void {
    const command = withMachineOptions(
      program
        .command('exec')
        .description('run a program of this machine, or an image of one, in an enclave, unmodified')
        .passThroughOptions()
        .argument('<command...>', 'an image of nsgx image build, or a program, and its arguments'),
    )
      .option('--copy <file>', 'a further file for its read-only root; may be repeated', collect, [])
      .option('--env <name[=value]>', 'a variable of its environment; may be repeated', collect, [])
      .option('--memory <MiB>', 'memory that it can allocate (default: 64)')
      .option('--files <MiB>', 'memory for files that it writes, and for the library OS (default: 32)')
      .option('--stack <MiB>', 'its stack (default: 8)')
      .option('--no-package', 'only the program and its libraries, without data of its Debian package')
      .option('--jit', 'let it execute what it has written: JIT compilers')
      .option('--key <pem>', 'signing key (default: one of its own in the state directory)')
      .addOption(
        new Option(
          '--io <transport>',
          'how it reaches the host: gate is for this machine only (default: ring)',
        ).choices(TRANSPORTS),
      )
      .addOption(new Option('--net <what>', 'sockets that it may have (default: all)').choices(NET_MODES))
      .option(
        '--mount <dir:/path[:rw]>',
        'give it a folder of this machine, unprotected, read-only without :rw; may be repeated',
        collect,
        [],
      )
      .option('--cwd </path>', 'the folder that it starts in, by its path inside (default: /)')
      .option(
        '--store <dir[:/path]>',
        'keep what it writes below /path (default: /data), encrypted, in a folder of this machine',
      );
    withStoreKey(command)
      .option('--provision <host:port>', 'where the key server of its store listens (nsgx keyserver)')
      .option(
        '--store-version <n>',
        'refuse a store older than this commit; helps if who runs this command is trusted, not against its machine',
      )
      .option('--debug', 'load as a debug enclave')
      .option('--stats', 'tell MRENCLAVE, system calls that trap and calls to the host on stderr')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx exec ls -l /\n  $ nsgx exec --memory 256 sqlite3 :memory: "select 6*7"' +
          '\n  $ nsgx exec --mount "$PWD:/work:rw" --cwd /work sort -o sorted.txt words.txt' +
          '\n  $ nsgx exec redis.img' +
          "\n\nThe program gets stdin, stdout and stderr, its libraries, the data of its Debian package (Python's modules), a" +
          "\n/tmp in the enclave's memory, and the folders that --mount names; nothing else of this machine. What it may ask of" +
          '\nits system: docs/SYSCALLS.md. Memory, files and key of an image are measured and signed with it, so they are' +
          '\noptions of nsgx image build. nsgx ends as the program does: with its status, 128 and the signal that ended it, 127' +
          '\nif there is no such program, 126 if it cannot be executed.',
      )
      .action(act(runExec));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

/** A number of MiB, or a size with its unit. */
function mebibytes(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit = 'M'] = /^(\d{1,6})([MG])?(?:i?B)?$/i.exec(text) ?? [];
  const value = Number(digits) * (unit.toUpperCase() === 'G' ? 1024 : 1);
  if (!(value >= 1 && value <= 32_768))
    throw new UsageError(`--${name} is a whole number of MiB from 1 to 32768, or such as 2G, not "${text}"`);
  return value * MIB;
}

/** `NAME=VALUE`; a name alone has the value that it has here. */
function variables(given: readonly string[]): string[] {
  return given.map((text) => {
    if (/^[^=]+=/.test(text)) return text;
    if (text === '' || text.startsWith('='))
      throw new UsageError(`--env takes NAME=VALUE or NAME, not "${text}"`);
    if (process.env[text] === undefined) throw new UsageError(`--env ${text}: it is not set here`);
    return `${text}=${process.env[text]}`;
  });
}

function inherited(policy?: ProgramPolicy): string[] {
  const names = PASSED.filter((name) => process.env[name] !== undefined);
  return names
    .filter((name) => policy === undefined || maySet(policy, name))
    .map((name) => `${name}=${process.env[name]}`);
}

/** Unless this process was started so that places do not change: setarch(8) -R, personality(2). */
function mayRandomize(): boolean {
  try {
    return (Number.parseInt(readFileSync('/proc/self/personality', 'latin1'), 16) & ADDR_NO_RANDOMIZE) === 0;
  } catch {
    return true;
  }
}

/** A program of this machine: its image is built and signed now, or was before and nothing has changed. */
async function fromMachine(
  [program, ...args]: readonly string[],
  options: ExecOptions,
  verbose: boolean,
  note: (text: string) => void,
): Promise<Prepared> {
  const request = {
    program: findProgram(program),
    companions: options.package,
    copy: options.copy.map((path) => resolve(path)),
    memory: mebibytes(options.memory, 'memory'),
    files: mebibytes(options.files, 'files'),
    stack: mebibytes(options.stack, 'stack'),
    jit: options.jit ?? false,
    randomize: mayRandomize(),
    verbose,
  };
  const mounts = options.mount.map(parseMount).map(({ path, writable }) => ({ path, writable }));
  const places = {
    ...(mounts.length > 0 ? { mounts } : {}),
    ...(options.cwd === undefined ? {} : { start: parseStart(options.cwd) }),
  };
  const { inside } = storeOf(options) ?? {};
  const storeKey = storeKeyOf(options);
  const store = options.store === undefined ? undefined : { path: inside ?? '/data', key: storeKey };
  const key = await execKey(options.key);
  const kept = new KeptImages(join(defaultStateDir(), 'images'));
  const identity = [{ ...request, ...places, store }, createHash('sha256').update(key).digest('hex')];
  // The builder is loaded only when it is needed.
  const path =
    kept.find(identity) ??
    (await import('../build-kept.js')).buildKept(kept, identity, { ...request, ...places, store }, key, note);
  const app = openAppImage(path);
  return {
    program: app,
    argv: [program, ...args],
    environment: [...USUAL, ...inherited(), ...variables(options.env)],
    sites: sitesOf(app.description),
    close: () => app.close(),
  };
}

function sitesOf(description: unknown): string {
  const { rewritten, trapping } = description as { rewritten?: number; trapping?: number };
  return `${rewritten} sites jump, ${trapping} trap`;
}

/** An image: what it allows is checked here, so that it can be named, and again by the enclave. */
function fromImage(
  [path, ...args]: readonly string[],
  options: ExecOptions,
  note: (text: string) => void,
): Prepared {
  const measured = (['memory', 'files', 'stack', 'key'] as const).find((name) => options[name] !== undefined);
  if (measured !== undefined || options.copy.length > 0)
    throw new UsageError(
      `--${measured ?? 'copy'} is an option of nsgx image build: an image is measured with it`,
    );
  if (options.cwd !== undefined)
    throw new UsageError(
      'where the program of an image starts is measured with it: `start` of nsgx image build --spec',
    );
  if (storeOf(options)?.inside !== undefined || storeKeyOf(options) !== undefined)
    throw new UsageError('where an image has its store, and its key, is measured with it: give --store DIR');
  const app = openAppImage(path);
  try {
    const { mounts: places = [], keyServer } = app.description as {
      mounts?: MountPlace[];
      keyServer?: string;
    };
    checkMounts(options.mount.map(parseMount), places).forEach(note);
    const { policy } = appFacts(app);
    const { policy: kind, values } = policy.arguments;
    const own = args.length === 0 || kind !== 'any' ? values : values.slice(0, 1);
    const argv = [...(own.length === 0 ? [path] : own), ...args];
    const usual = policy.environment === 'any' ? USUAL : [];
    const environment = [...usual, ...inherited(policy), ...variables(options.env)];
    checkPolicy(policy, argv, environment);
    const sites = sitesOf(app.description);
    return { program: app, argv, environment, sites, keyServer, close: () => app.close() };
  } catch (error) {
    app.close();
    throw error;
  }
}

function tellStats(terminal: Terminal, result: RunResult, sites: string): void {
  if (result.store !== undefined)
    terminal.note(`nsgx: store at commit ${result.store.version}, root ${result.store.mac}`);
  terminal.note(
    `nsgx: mrenclave ${result.mrenclave}; system calls: ${sites}; ${result.exceptions} exceptions, ${result.traps} of them traps, ` +
      `${result.ocalls} calls to the host`,
  );
}

async function runExec(
  terminal: Terminal,
  command: string[],
  options: ExecOptions,
  of: Command,
): Promise<void> {
  const verbose = options.verbose ?? of.parent?.opts<{ verbose?: boolean }>().verbose ?? false;
  const note = (text: string) => terminal.note(`nsgx: ${text}`);
  let prepared: Prepared;
  try {
    prepared = isAppImage(command[0])
      ? fromImage(command, options, note)
      : await fromMachine(command, options, verbose, note);
  } catch (error) {
    const status = error instanceof Error && 'code' in error ? STATUS[String(error.code)] : undefined;
    if (status === undefined) throw error;
    reportError(error, { ...terminal.options, verbose });
    throw new ExitWith(status);
  }
  const leave = announce(prepared.argv, isAppImage(command[0]) ? resolve(command[0]) : null);
  let stopForwarding: (() => void) | undefined;
  try {
    await using cvm = await openMachine(options);
    const { argv, environment } = prepared;
    const result = await runProgram(cvm, prepared.program, {
      ...{ argv, environment },
      debug: options.debug,
      io: options.io,
      net: options.net,
      mounts: options.mount.map(parseMount),
      store: storeOf(options),
      provision: provisionOf(options.provision, prepared.keyServer),
      onNote: note,
      onStart: (program) => {
        stopForwarding = forwardSignals(program);
      },
      // For whoever waits for this process, the program is this process.
      onStop: () => process.kill(process.pid, 'SIGSTOP'),
    });
    if (options.stats) tellStats(terminal, result, prepared.sites);
    if (result.status !== 0) throw new ExitWith(result.status);
  } finally {
    stopForwarding?.();
    leave();
    prepared.close();
  }
}
