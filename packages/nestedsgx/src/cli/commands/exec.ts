import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateKey } from '@nestedsgx/image/node';
import { buildProgramImage, runProgram } from '@nestedsgx/libos';
import { defaultStateDir, makeDirectories } from '@nestedsgx/sdk';
import type { Command } from 'commander';
import { readLimited } from '../files.js';
import { type MachineOptions, openMachine, withMachineOptions } from '../machine-options.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { ExitWith, type Terminal, UsageError } from '../terminal.js';

const MIB = 2 ** 20;
const KEY_LIMIT = 64 * 1024;
/** Variables that programs get without being asked for. */
const PASSED = ['TERM', 'LANG', 'LC_ALL', 'TZ'];

interface ExecOptions extends MachineOptions {
  copy: string[];
  env: string[];
  memory: string;
  files: string;
  stack: string;
  key?: string;
  debug?: boolean;
  stats?: boolean;
  verbose?: boolean;
}

export const execCommand: CommandModule = {
  name: 'exec',
  register(program: Command, act: ActionWrapper): void {
    withMachineOptions(
      program
        .command('exec')
        .description('run a program of this machine in an enclave, unmodified')
        .argument('<command...>', 'the program by its path, and its arguments'),
    )
      .option('--copy <file>', 'a further file for its read-only root; may be repeated', collect, [])
      .option('--env <name=value>', 'a variable of its environment; may be repeated', collect, [])
      .option('--memory <MiB>', 'memory that it can allocate', '64')
      .option('--files <MiB>', 'memory for files that it writes, and for the library OS', '32')
      .option('--stack <MiB>', 'its stack', '1')
      .option('--key <pem>', 'signing key (default: one of its own in the state directory)')
      .option('--debug', 'load as a debug enclave')
      .option('--stats', 'tell MRENCLAVE, system calls that trap and calls to the host on stderr')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx exec -- /bin/ls -l /\n  $ nsgx exec --memory 256 -- /usr/bin/sqlite3 :memory: "select 6*7"' +
          "\n\nThe program gets stdin, stdout and stderr, its libraries, and a /tmp in the enclave's memory; nothing else" +
          '\nof this machine. What it may ask of its system: docs/SYSCALLS.md.',
      )
      .action(act(runExec));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

function mebibytes(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 32_768)
    throw new UsageError(`--${name} is a whole number of MiB from 1 to 32768, not "${text}"`);
  return value * MIB;
}

/** The key that programs are signed with where none is given: made once for this account. */
async function ownKey(): Promise<Uint8Array> {
  const path = join(defaultStateDir(), 'exec-key.pem');
  if (!existsSync(path)) {
    makeDirectories(defaultStateDir());
    writeFileSync(path, (await generateKey()).privateKeyPem, { mode: 0o600, flag: 'wx' });
    chmodSync(path, 0o600);
  }
  return readLimited(path, KEY_LIMIT, 'key');
}

async function runExec(
  terminal: Terminal,
  command: string[],
  options: ExecOptions,
  of: Command,
): Promise<void> {
  const [program, ...args] = command;
  if (!program.includes('/'))
    throw new UsageError(`give the program by its path, such as /usr/bin/${program}`);
  for (const variable of options.env)
    if (!/^[^=]+=/.test(variable)) throw new UsageError(`--env takes NAME=VALUE, not "${variable}"`);
  const verbose = options.verbose ?? of.parent?.opts<{ verbose?: boolean }>().verbose ?? false;
  const image = buildProgramImage({
    program,
    copy: options.copy,
    memory: mebibytes(options.memory, 'memory'),
    files: mebibytes(options.files, 'files'),
    stack: mebibytes(options.stack, 'stack'),
    cache: join(defaultStateDir(), 'sites'),
    verbose,
  });
  const key = options.key === undefined ? await ownKey() : readLimited(options.key, KEY_LIMIT, 'key');
  await using cvm = await openMachine(options);
  const inherited = PASSED.filter((name) => process.env[name] !== undefined);
  const result = await runProgram(cvm, image, {
    argv: [program, ...args],
    environment: [
      'PATH=/usr/local/bin:/usr/bin:/bin',
      'HOME=/',
      ...inherited.map((name) => `${name}=${process.env[name]}`),
      ...options.env,
    ],
    key,
    debug: options.debug,
    onNote: (text) => terminal.note(`nsgx: ${text}`),
  });
  if (options.stats)
    terminal.note(
      `nsgx: mrenclave ${result.mrenclave}; system calls: ${image.rewritten} sites jump, ${image.trapping} trap; ` +
        `${result.exceptions} exceptions, ${result.ocalls} calls to the host`,
    );
  if (result.status !== 0) throw new ExitWith(result.status);
}
