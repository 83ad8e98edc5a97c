import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { cells, HEADINGS, RESULTS, type ReportFile, report, SDK_RESULTS } from '../../bench/report.js';
import type { Bench, BenchResult } from '../../bench/row.js';
import { runBenches } from '../../bench/run.js';
import { sdkBench } from '../../bench/sdk/sdk-bench.js';
import { BENCHES } from '../../bench/table.js';
import { judge } from '../../bench/targets.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import type { Terminal } from '../terminal.js';
import { UsageError } from '../terminal.js';

interface BenchOptions {
  short?: boolean;
  out?: string;
  sim?: string;
}

export const benchCommand: CommandModule = {
  name: 'bench',
  register(program: Command, act: ActionWrapper): void {
    const names = BENCHES.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`).join('\n');
    program
      .command('bench')
      .description('measure, beside the floor of this machine, other systems and the paper')
      .argument('<name>', `${BENCHES.map(({ name }) => name).join(', ')}, report for all of them, or sdk`)
      .argument('[folder]', "with sdk: folder with enclaves that were built with Intel's SDK")
      .option(
        '--out <dir>',
        'with report: write BENCHMARKS.md there, and figures and SVG plots in its folder bench; with sdk: its section there',
      )
      .option('--sim <dir>', 'with sdk: folder with the same programs in simulation mode, run in turn')
      .addOption(new Option('--short', 'a few repetitions: shows that it works, not how fast'))
      .addHelpText('after', `\nBenchmarks:\n${names}\n${SDK_HELP}\nExample:\n  $ nsgx bench transitions`)
      .action(act(runBench));
  },
};

/** What `nsgx bench sdk` looks for. */
const SDK_HELP = `
  sdk FOLDER   enclaves in FOLDER: Bench/bench.signed.so with Bench.edl (ecall_empty, ecall_add, ecall_ocalls,
               ecall_inout, ocall_empty), and hashjoin, sqlite and nbench, each with enclave.signed.so and Enclave.edl.
               --sim DIR: bench (which loads bench.signed.so and writes lines "NAME median N cycles"), hashjoin/app,
               sqlite/app and nbench/app
`;

function chosen(name: string, folder: string | undefined, { out, sim }: BenchOptions): readonly Bench[] {
  if (name === 'sdk') {
    if (folder === undefined) throw new UsageError('nsgx bench sdk needs the folder with the enclaves');
    return [sdkBench(folder, sim)];
  }
  if (folder !== undefined || sim !== undefined)
    throw new UsageError('a folder and --sim belong to nsgx bench sdk');
  if (out !== undefined && name !== 'report')
    throw new UsageError('--out belongs to nsgx bench report and nsgx bench sdk');
  const benches = name === 'report' ? BENCHES : BENCHES.filter((bench) => bench.name === name);
  if (benches.length > 0) return benches;
  throw new UsageError(
    `there is no benchmark "${name}"; there are ${BENCHES.map((bench) => bench.name).join(', ')}, report and sdk`,
  );
}

async function runBench(
  terminal: Terminal,
  name: string,
  folder: string | undefined,
  options: BenchOptions,
): Promise<void> {
  const benches = chosen(name, folder, options);
  const own = name === 'sdk' && options.out !== undefined ? published(options.out, RESULTS) : undefined;
  if (name === 'sdk' && options.out !== undefined && own === undefined)
    throw new UsageError(
      `${options.out} has no report for the section; write one first: nsgx bench report --out ${options.out}`,
    );
  const result = await runBenches(benches, {
    short: options.short,
    note: (text) => {
      if (process.stderr.isTTY) terminal.note(colors.dim(`${text} …`));
    },
  });
  if (options.out !== undefined)
    writeReport(
      options.out,
      own === undefined ? report(result, published(options.out, SDK_RESULTS)) : report(own, result),
    );
  terminal.answer(result, [
    ...lines(terminal, result),
    ...(options.out === undefined ? [] : [`written to ${options.out}`]),
  ]);
}

/** Figures that were published in a folder before. */
function published(folder: string, name: string): BenchResult | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, name), 'utf8')) as BenchResult;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return undefined;
    throw error;
  }
}

function writeReport(folder: string, files: readonly ReportFile[]): void {
  for (const { name, text } of files) {
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
