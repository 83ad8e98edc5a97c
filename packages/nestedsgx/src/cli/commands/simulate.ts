import { type CoverageRow, type Finding, type SimulateResult, simulate } from '@nestedsgx/simulator';
import type { Command } from 'commander';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';

interface SimulateCommandOptions {
  seed?: string;
  sequences: string;
  replay?: string;
  coverage?: boolean;
  results?: boolean;
}

/** From this many sequences on every row that can be reached must have been. */
const FULL_RUN = 20_000;

export const simulateCommand: CommandModule = {
  name: 'simulate',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('simulate')
      .description('run random sequences of leaves against the reference model; exit 1 if anything differs')
      .option('--seed <number>', 'seed of the sequences (default: of the clock)')
      .option('--sequences <number>', 'how many sequences', '1000')
      .option('--replay <seed:index>', 'run one sequence again and make it small')
      .option('--coverage', 'list how often each check of each leaf was hit')
      .option('--results', 'compare results only, not states')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx simulate --sequences 20000 --coverage\n  $ nsgx simulate --replay 7:1234',
      )
      .action(act(runSimulate));
  },
};

function runSimulate(terminal: Terminal, options: SimulateCommandOptions): void {
  const one = options.replay === undefined ? null : replayOf(options.replay);
  const sequences = one === null ? whole(options.sequences, '--sequences') : 1;
  const seed =
    one?.seed ?? (options.seed === undefined ? Date.now() % 2 ** 31 : whole(options.seed, '--seed'));
  const result = simulate({
    seed,
    sequences,
    from: one?.index ?? 0,
    states: options.results !== true,
    progress: (done) => {
      if (process.stderr.isTTY && done % 10_000 === 0) terminal.note(colors.dim(`${done} sequences …`));
    },
  });
  const { coverage, ...figures } = result;
  const missing = sequences >= FULL_RUN ? coverage.missing() : [];
  const rows = coverage.rows();
  terminal.answer(
    {
      ...figures,
      missing: missing.map(({ name }) => name),
      ...(options.coverage === true ? { coverage: rows } : {}),
    },
    [
      ...(options.coverage === true ? coverageLines(terminal, rows) : []),
      ...summary(result, rows),
      ...(result.finding === null ? [] : findingLines(result.finding)),
      ...missing.map(({ name }) => colors.red(`never hit: ${name}`)),
    ],
  );
  if (result.finding !== null || missing.length > 0) throw new Refused();
}

function coverageLines(terminal: Terminal, rows: readonly CoverageRow[]): string[] {
  return terminal.table(
    rows.map(({ name, outcome, hits, unreachable }) => [
      name,
      outcome,
      unreachable === undefined ? String(hits) : colors.dim(`– ${unreachable}`),
    ]),
  );
}

function summary(result: SimulateResult, rows: readonly CoverageRow[]): string[] {
  const reachable = rows.filter(({ unreachable }) => unreachable === undefined);
  const hit = reachable.filter(({ hits }) => hits > 0).length;
  const n = (value: number) => value.toLocaleString('en-US');
  return [
    `${n(result.sequences)} sequences of seed ${result.seed}: ${n(result.calls)} calls in ${result.seconds.toFixed(1)} s` +
      ` (${n(result.plainCallsPerSecond)} a second of processor time without cryptography, ${n(result.callsPerSecond)} a second with it)`,
    `${hit} of ${reachable.length} rows hit, ${rows.length - reachable.length} cannot be`,
    ...(result.finding === null ? [colors.green('model and monitor agree')] : []),
  ];
}

function findingLines(finding: Finding): string[] {
  return [
    colors.red(`model and monitor differ: ${finding.difference}`),
    ...finding.steps.map((line, i) => `  ${i === finding.at ? '→' : ' '} ${line}`),
    `again: nsgx simulate --replay ${finding.replay}`,
  ];
}

function replayOf(text: string): { seed: number; index: number } {
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  if (match === null) throw new UsageError(`--replay is SEED:INDEX, not "${text}"`);
  return { seed: whole(match[1], '--replay'), index: whole(match[2], '--replay') };
}

function whole(text: string, option: string): number {
  const value = Number(text);
  if (/^\d{1,10}$/.test(text) && value < 2 ** 32) return value;
  throw new UsageError(`${option} must be a number from 0 to 4294967295, not "${text}"`);
}
