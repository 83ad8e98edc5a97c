/** `nsgx ps` and `nsgx kill`: programs that run in enclaves. */
import { constants } from 'node:os';
import type { Command } from 'commander';
import type { ActionWrapper, CommandModule } from '../program.js';
import { running, signalProgram } from '../running.js';
import { type Terminal, UsageError } from '../terminal.js';

export const psCommand: CommandModule = {
  name: 'ps',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('ps')
      .description('programs of this account that run in enclaves (nsgx exec)')
      .addHelpText('after', '\nExample:\n  $ nsgx ps')
      .action(act(runPs));
  },
};

export const killCommand: CommandModule = {
  name: 'kill',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('kill')
      .description('send a signal to programs that run in enclaves; KILL ends the enclave')
      .argument('<what...>', 'numbers as nsgx ps has them, with -SIGNAL before them')
      .option('-s, --signal <name>', 'the signal, by name or number (default: TERM)')
      .allowUnknownOption()
      .addHelpText('after', '\nExamples:\n  $ nsgx kill 4711\n  $ nsgx kill -HUP 4711\n  $ nsgx kill -9 4711')
      .action(act(runKill));
  },
};

function elapsed(since: string): string {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  return `${hours > 0 ? `${hours}:` : ''}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function runPs(terminal: Terminal): void {
  const programs = running();
  const rows = programs.map((row) => [String(row.pid), elapsed(row.since), row.command.join(' ')]);
  terminal.answer(
    { programs: programs.map(({ start: _, ...row }) => row) },
    programs.length === 0 ? ['no programs'] : terminal.table([['pid', 'time', 'command'], ...rows]),
  );
}

/** A signal by name, with or without SIG, or number. */
function signalOf(text: string): NodeJS.Signals {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  const upper = text.toUpperCase();
  const found = names.find(
    (name) => name === upper || name === `SIG${upper}` || String(constants.signals[name]) === text,
  );
  if (found === undefined) throw new UsageError(`"${text}" is no signal`);
  return found;
}

function runKill(terminal: Terminal, what: string[], options: { signal?: string }): void {
  const named = what.filter((text) => text.startsWith('-'));
  const pids = what.filter((text) => !text.startsWith('-'));
  const signals = [
    ...named.map((text) => text.slice(1)),
    ...(options.signal === undefined ? [] : [options.signal]),
  ];
  if (signals.length > 1) throw new UsageError('give one signal');
  if (pids.length === 0) throw new UsageError('give the number of a program; nsgx ps lists them');
  const signal = signalOf(signals[0] ?? 'TERM');
  for (const text of pids)
    if (!/^[1-9]\d{0,9}$/.test(text)) throw new UsageError(`"${text}" is no number of a program`);
  for (const text of pids) signalProgram(Number(text), signal);
  terminal.answer({ signal, pids: pids.map(Number) }, []);
}
