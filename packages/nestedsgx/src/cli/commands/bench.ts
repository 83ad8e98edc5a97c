import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { cells, HEADINGS, report } from '../../bench/report.js';
import type { BenchResult } from '../../bench/row.js';
import { runBenches } from '../../bench/run.js';
import { BENCHES } from '../../bench/table.js';
import { judge } from '../../bench/targets.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import type { Terminal } from '../terminal.js';
import { UsageError } from '../terminal.js';

interface BenchOptions {
  short?: boolean;
  out?: string;
}

export const benchCommand: CommandModule = {
  name: 'bench',
  register(program: Command, act: ActionWrapper): void {
    const names = BENCHES.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`).join('\n');
    program
      .command('bench')
      .description('measure, beside the floor of this machine, other systems and the paper')
      .argument('<name>', `${BENCHES.map(({ name }) => name).join(', ')}, or report for all of them`)
      .option(
        '--out <dir>',
        'with report: write BENCHMARKS.md there, and figures and SVG plots in its folder bench',
      )
      .addOption(new Option('--short', 'a few repetitions: shows that it works, not how fast'))
      .addHelpText('after', `\nBenchmarks:\n${names}\n\nExample:\n  $ nsgx bench transitions`)
      .action(act(runBench));
  },
};

async function runBench(terminal: Terminal, name: string, options: BenchOptions): Promise<void> {
  const benches = name === 'report' ? BENCHES : BENCHES.filter((bench) => bench.name === name);
  if (benches.length === 0)
    throw new UsageError(
      `there is no benchmark "${name}"; there are ${BENCHES.map((bench) => bench.name).join(', ')} and report`,
    );
  if (options.out !== undefined && name !== 'report')
    throw new UsageError('--out belongs to nsgx bench report');
  const result = await runBenches(benches, {
    short: options.short,
    note: (text) => {
      if (process.stderr.isTTY) terminal.note(colors.dim(`${text} …`));
    },
  });
  if (options.out !== undefined) writeReport(options.out, result);
  terminal.answer(result, [
    ...lines(terminal, result),
    ...(options.out === undefined ? [] : [`written to ${options.out}`]),
  ]);
}

function writeReport(folder: string, result: BenchResult): void {
  for (const { name, text } of report(result)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

function lines(terminal: Terminal, result: BenchResult): string[] {
  const judgements = result.rows.flatMap((row) => judge(row));
  const met = judgements.filter((judgement) => judgement.met).length;
  return [
    `${result.cpu}, ${result.cpus} CPUs, TSC ${(result.tscHz / 1e9).toFixed(2)} GHz, ${result.kernel}, Node ${result.node}`,
    '',
    ...terminal.table([
      HEADINGS.map((heading) => colors.dim(heading)),
      ...result.rows.map((row) => coloured(cells(row))),
    ]),
    '',
    `${met} of ${judgements.length} targets met`,
    ...(result.busy > 0.1
      ? [
          colors.yellow(
            `other processes used ${Math.round(result.busy * 100)} % of the CPUs: measure again on an idle machine`,
          ),
        ]
      : []),
  ];
}

function coloured(row: string[]): string[] {
  return row.map((cell) => (cell.includes('MISSED') ? colors.red(cell) : cell));
}
