import { appendFileSync, writeFileSync } from 'node:fs';
import { tscHz } from '@nestedsgx/os';
import { defaultSocketPath } from '@nestedsgx/sdk';
import { type Command, Option } from 'commander';
import { traceCommand as runTraced } from '../../trace/command.js';
import { traceLine } from '../../trace/line.js';
import { sectionOfCheck, TRACE_NAMES } from '../../trace/names.js';
import { isGap, type TraceGap, type TraceRecord } from '../../trace/record.js';
import { passes, type TracedMachine, type TraceFilter, TraceSession } from '../../trace/session.js';
import { SUMMARY_HEADINGS, Summary, summaryCells } from '../../trace/summary.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { ExitWith, type Terminal, UsageError } from '../terminal.js';

interface TraceOptions {
  socket?: string;
  leaf: string[];
  failed?: boolean;
  enclave?: string;
  summary?: boolean;
  times?: boolean;
  limit?: string;
  seconds?: string;
  out?: string;
}

/** Records that a JSON document holds at most, unless --limit says so. */
const JSON_LIMIT = 100_000;

export const traceCommand: CommandModule = {
  name: 'trace',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('trace')
      .description('strace for SGX: every leaf and call, and for a refusal the check that refused')
      .argument('[command...]', 'a command to run; the confidential VMs that it launches are traced')
      .option(
        '--socket <path>',
        'trace the confidential VM that listens there (default: that of nsgx cvm start)',
      )
      .option('--leaf <name>', 'only this leaf or call; may be repeated', collect, [])
      .option('--enclave <id>', 'only what concerns this enclave')
      .option('--failed', 'only what was refused')
      .option('--summary', 'counts and time of each leaf at the end instead of lines')
      .option('--times', 'when each leaf began, in seconds, and how long it took')
      .option('--limit <n>', 'stop tracing after so many records')
      .option('--seconds <n>', 'stop tracing after so many seconds')
      .addOption(new Option('--out <file>', 'write lines there (default: stdout; with a command stderr)'))
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx trace -- nsgx run hello add 2 3\n  $ nsgx trace --failed -- node app.mjs\n  $ nsgx trace --summary --socket /run/nestedsgx/cvm.sock --seconds 10',
      )
      .action(act(runTrace));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

function wholeNumber(given: string | undefined, option: string, least: number): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+$/.test(given) || !Number.isSafeInteger(value) || value < least)
    throw new UsageError(`${option} wants a whole number of at least ${least}, not "${given}"`);
  return value;
}

function filterOf(options: TraceOptions): TraceFilter {
  const leaves = options.leaf.map((name) => name.toUpperCase());
  for (const name of leaves)
    if (!TRACE_NAMES.includes(name)) throw new UsageError(`there is no leaf or call of the name ${name}`);
  const enclave = wholeNumber(options.enclave, '--enclave', 0);
  return {
    ...(leaves.length === 0 ? {} : { leaves }),
    ...(options.failed ? { failed: true } : {}),
    ...(enclave === undefined ? {} : { enclave }),
  };
}

/** What has been seen so far, and where it goes. */
class Collected {
  readonly records: object[] = [];
  readonly summary = new Summary();
  shown = 0;
  lost = 0;
  /** A record came after the limit. */
  full = false;
  #from: number | null = null;

  constructor(
    private readonly write: ((line: string) => void) | null,
    private readonly options: { filter: TraceFilter; limit: number; keep: boolean; times: boolean },
    private readonly several: () => boolean,
  ) {}

  take(machine: TracedMachine, record: TraceRecord | TraceGap): void {
    if (isGap(record)) this.lost += record.lost;
    else if (!passes(this.options.filter, record)) return;
    if (this.shown >= this.options.limit) {
      this.full = true;
      return;
    }
    const pid = this.several() ? machine.pid : undefined;
    if (!isGap(record)) {
      this.shown++;
      this.summary.add(record);
      this.#from ??= record.at;
      if (this.options.keep) this.records.push(detailed(record, machine));
    }
    this.write?.(
      traceLine(record, { pid, times: this.options.times ? { from: this.#from ?? 0 } : undefined }),
    );
  }
}

function detailed(record: TraceRecord, machine: TracedMachine): object {
  const section = record.check === undefined ? '' : sectionOfCheck(record.check);
  return { pid: machine.pid, ...record, ...(section === '' ? {} : { section }) };
}

async function runTrace(terminal: Terminal, command: string[], options: TraceOptions): Promise<void> {
  const filter = filterOf(options);
  const given = wholeNumber(options.limit, '--limit', 1);
  const limit = given ?? (terminal.json && !options.summary ? JSON_LIMIT : Number.POSITIVE_INFINITY);
  const seconds = wholeNumber(options.seconds, '--seconds', 1);
  if (seconds !== undefined && command.length > 0)
    throw new UsageError('--seconds belongs to --socket; a command is traced until it ends');
  if (options.out !== undefined && (options.summary || terminal.json))
    throw new UsageError('--out is for lines, not with --summary or --json');
  const write = writer(terminal, command.length > 0, options);
  const collected = new Collected(
    write,
    { filter, limit, keep: terminal.json && !options.summary, times: options.times ?? false },
    () => session.machines.length > 1,
  );
  using session = new TraceSession((machine, record) => collected.take(machine, record));
  if (options.socket !== undefined || command.length === 0)
    session.attach(options.socket ?? defaultSocketPath(), filter);
  const status =
    command.length > 0
      ? await runTraced(session, command, !terminal.json)
      : await untilEnough(session, seconds, () => collected.shown >= limit);
  if (command.length > 0 && session.machines.length === 0)
    terminal.note('the command launched no confidential VM; trace one that runs with --socket');
  const rows = collected.summary.rows(tscHz());
  const counts = {
    machines: session.machines.map(({ pid }) => ({ pid })),
    lost: collected.lost,
    complete: !collected.full,
  };
  if (options.summary) {
    const lines = terminal.table([[...SUMMARY_HEADINGS], ...summaryCells(rows)]);
    if (terminal.json || command.length === 0) terminal.answer({ ...counts, summary: rows }, lines);
    else for (const line of lines) terminal.note(line);
  } else if (terminal.json) terminal.answer({ ...counts, records: collected.records }, []);
  if (status !== 0) throw new ExitWith(status);
}

/** Where lines go: a file, stderr beside a command's own output, or stdout. Null: there are none. */
function writer(
  terminal: Terminal,
  besideCommand: boolean,
  options: TraceOptions,
): ((line: string) => void) | null {
  if (options.out !== undefined) {
    const path = options.out;
    writeFileSync(path, '');
    return (line) => appendFileSync(path, `${line}\n`);
  }
  if (options.summary || terminal.json) return null;
  return besideCommand ? (line) => terminal.note(line) : (line) => terminal.line(line);
}

/** Traces until the machine ends, the time is over, enough was seen, or the user has seen enough. */
async function untilEnough(
  session: TraceSession,
  seconds: number | undefined,
  enough: () => boolean,
): Promise<number> {
  const end = seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1000;
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
  };
  process.on('SIGINT', interrupt);
  try {
    while (session.open > 0 && !interrupted && !enough() && performance.now() < end) {
      session.poll();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    process.off('SIGINT', interrupt);
  }
  return 0;
}
