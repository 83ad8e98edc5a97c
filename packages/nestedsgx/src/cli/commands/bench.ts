import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { libosBench, SUBJECTS } from '../../bench/libos/libos-bench.js';
import { LIBOS_HEADINGS, libosCells } from '../../bench/libos/section.js';
import { TRANSPORTS, type Transport } from '../../bench/libos/stage.js';
import {
  cells,
  HEADINGS,
  LIBOS_RESULTS,
  RESULTS,
  type ReportFile,
  report,
  SDK_RESULTS,
} from '../../bench/report.js';
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
  only?: string[];
  io?: Transport;
}

/** Benchmarks with a section of their own in the report. */
const SECTIONS: readonly string[] = ['sdk', 'libos'];

export const benchCommand: CommandModule = {
  name: 'bench',
  register(program: Command, act: ActionWrapper): void {
    const names = BENCHES.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`).join('\n');
    program
      .command('bench')
      .description('measure, beside the floor of this machine, other systems and the paper')
      .argument(
        '<name>',
        `${BENCHES.map(({ name }) => name).join(', ')}, report for all of them, sdk or libos`,
      )
      .argument('[folder]', "with sdk: folder with enclaves that were built with Intel's SDK")
      .option(
        '--out <dir>',
        'with report: write BENCHMARKS.md there, and figures and SVG plots in its folder bench; with sdk and libos: its section there',
      )
      .option('--sim <dir>', 'with sdk: folder with the same programs in simulation mode, run in turn')
      .option('--only <name...>', `with libos: ${SUBJECTS.map(({ name }) => name).join(', ')}`)
      .addOption(new Option('--io <transport>', 'with libos: by this transport only').choices(TRANSPORTS))
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
  libos        programs of this machine, unmodified in an enclave and natively in turn
`;

function chosen(name: string, folder: string | undefined, options: BenchOptions): readonly Bench[] {
  const { out, sim, only, io } = options;
  if (name === 'sdk') {
    if (folder === undefined) throw new UsageError('nsgx bench sdk needs the folder with the enclaves');
    return [sdkBench(folder, sim)];
  }
  if (folder !== undefined || sim !== undefined)
    throw new UsageError('a folder and --sim belong to nsgx bench sdk');
  if (name === 'libos') {
    const unknown = only?.find((wanted) => !SUBJECTS.some((subject) => subject.name === wanted));
    if (unknown !== undefined)
      throw new UsageError(
        `nsgx bench libos has no "${unknown}"; it has ${SUBJECTS.map((subject) => subject.name).join(', ')}`,
      );
    return [libosBench(only, io)];
  }
  if (only !== undefined || io !== undefined)
    throw new UsageError('--only and --io belong to nsgx bench libos');
  if (out !== undefined && name !== 'report')
    throw new UsageError('--out belongs to nsgx bench report, nsgx bench sdk and nsgx bench libos');
  const benches = name === 'report' ? BENCHES : BENCHES.filter((bench) => bench.name === name);
  if (benches.length > 0) return benches;
  throw new UsageError(
    `there is no benchmark "${name}"; there are ${BENCHES.map((bench) => bench.name).join(', ')}, report, sdk and libos`,
  );
}

async function runBench(
  terminal: Terminal,
  name: string,
  folder: string | undefined,
  options: BenchOptions,
): Promise<void> {
  const benches = chosen(name, folder, options);
  const section = SECTIONS.includes(name);
  const own = section && options.out !== undefined ? published(options.out, RESULTS) : undefined;
  if (section && options.out !== undefined && own === undefined)
    throw new UsageError(
      `${options.out} has no report for the section; write one first: nsgx bench report --out ${options.out}`,
    );
  const result = await runBenches(benches, {
    short: options.short,
    note: (text) => {
      if (process.stderr.isTTY) terminal.note(colors.dim(`${text} …`));
    },
  });
  if (options.out !== undefined) {
    const sections = {
      sdk: published(options.out, SDK_RESULTS),
      libos: published(options.out, LIBOS_RESULTS),
      ...(section ? { [name]: result } : {}),
    };
    writeReport(options.out, report(own ?? result, sections));
  }
  terminal.answer(result, [
    ...lines(terminal, result, name === 'libos'),
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

function lines(terminal: Terminal, result: BenchResult, libos: boolean): string[] {
  const judgements = result.rows.flatMap((row) => judge(row));
  const met = judgements.filter((judgement) => judgement.met).length;
  return [
    `${result.cpu}, ${result.cpus} CPUs, TSC ${(result.tscHz / 1e9).toFixed(2)} GHz, ${result.kernel}, Node ${result.node}`,
    '',
    ...terminal.table([
      (libos ? LIBOS_HEADINGS : HEADINGS).map((heading) => colors.dim(heading)),
      ...result.rows.map((row) => coloured(libos ? libosCells(row) : cells(row))),
    ]),
    '',
    `${met} of ${judgements.length} targets met`,
    ...(libos
      ? result.rows
          .filter(({ value }) => value === null)
          .map(({ name, form, note = '' }) => colors.dim(`${name} ${form}: ${note}`))
      : []),
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
