import { NsgxError } from '@nestedsgx/arch';
import colors from './colors.js';

/** Options every command understands. */
export interface CommonOptions {
  json?: boolean;
  verbose?: boolean;
}

/** A command that did its work but whose answer is "no": a rejected verification, a broken attack. Exit code 1. */
export class Refused extends Error {}

/** The exit code of a command that this one ran in the user's stead. */
export class ExitWith extends Error {
  constructor(readonly status: number) {
    super('');
  }
}

/** Wrong usage that the option parser cannot see. Exit code 2. */
export class UsageError extends Error {}

/**
 * What a command prints with. With `--json` exactly one document goes to stdout and everything else to stderr; without
 * it, human lines go to stdout. Colour only on a terminal.
 */
export class Terminal {
  constructor(readonly options: CommonOptions) {}

  get json(): boolean {
    return this.options.json === true;
  }

  /** The command's answer: `document` for scripts, `lines` for people. */
  answer(document: unknown, lines: readonly string[] | string): void {
    if (this.json) process.stdout.write(`${JSON.stringify(document, bigintAsNumber)}\n`);
    else for (const line of typeof lines === 'string' ? [lines] : lines) process.stdout.write(`${line}\n`);
  }

  /** A line of human output along the way; silent with --json. */
  line(text = ''): void {
    if (!this.json) process.stdout.write(`${text}\n`);
  }

  /** Diagnostics and progress, on stderr. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  /** Says that something slow begins, on a terminal only. */
  async progress<T>(what: string, work: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      if (process.stderr.isTTY) this.note(colors.dim(`${what} …`));
    }, 1000);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Rows of cells as aligned lines, two blanks between columns. */
  table(rows: readonly (readonly string[])[]): string[] {
    return alignRows(rows);
  }
}

/** Pads every column to its widest cell. Escape sequences of colour do not count. */
export function alignRows(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, visibleLength(cell));
    });
  return rows.map((row) =>
    row
      .map(
        (cell, column) =>
          cell + ' '.repeat(column === row.length - 1 ? 0 : widths[column]! - visibleLength(cell)),
      )
      .join('  ')
      .trimEnd(),
  );
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colour sequences begin with ESC
const COLOUR_SEQUENCE = /\u001b\[[0-9;]*m/g;

function visibleLength(text: string): number {
  return text.replace(COLOUR_SEQUENCE, '').length;
}

function bigintAsNumber(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** Prints an error as one sentence of what failed and one of what to do; returns the exit code. */
export function reportError(error: unknown, options: CommonOptions): number {
  const code = error instanceof Error && 'code' in error ? ` [${String(error.code)}]` : '';
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${colors.red('nsgx:')} ${message}${code}\n`);
  const advice = error instanceof NsgxError || hasAdvice(error) ? error.advice : undefined;
  if (advice !== undefined) process.stderr.write(`      ${advice}\n`);
  // What a compiler or linker said, as it said it.
  if (error instanceof Error && 'output' in error && typeof error.output === 'string')
    process.stderr.write(`\n${error.output.trimEnd()}\n`);
  if (options.verbose) writeCauses(error);
  return error instanceof UsageError || hasCode(error, USAGE_CODES) ? 2 : 1;
}

/** Errors of the libraries that mean a wrong name on the command line. */
const USAGE_CODES: readonly string[] = ['ATTACK_UNKNOWN'];

function hasCode(error: unknown, codes: readonly string[]): boolean {
  return error instanceof NsgxError && codes.includes(error.code);
}

function hasAdvice(error: unknown): error is Error & { advice?: string } {
  return error instanceof Error && 'advice' in error && typeof error.advice === 'string';
}

function writeCauses(error: unknown): void {
  for (let at = error; at instanceof Error; at = at.cause)
    process.stderr.write(`${colors.dim(at.stack ?? at.message)}\n`);
}
