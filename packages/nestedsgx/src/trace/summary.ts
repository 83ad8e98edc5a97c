/** Counts and time by leaf, as `strace -c` gives them by system call. */
import type { TraceRecord } from './record.js';

/** All records of one name. */
export interface SummaryRow {
  readonly name: string;
  readonly calls: number;
  readonly refused: number;
  /** Time inside the monitor, from a request's acceptance to its answer. */
  readonly microseconds: number;
  /** Average of one, in TSC cycles. */
  readonly cycles: number;
}

/** Adds up records. */
export class Summary {
  readonly #rows = new Map<string, { calls: number; refused: number; microseconds: number }>();

  add({ name, result, microseconds }: TraceRecord): void {
    const row = this.#rows.get(name) ?? { calls: 0, refused: 0, microseconds: 0 };
    row.calls++;
    if (result !== 'ok') row.refused++;
    row.microseconds += microseconds;
    this.#rows.set(name, row);
  }

  /** Rows by time, the longest first. */
  rows(tscHz: number): SummaryRow[] {
    return [...this.#rows]
      .map(([name, row]) => ({
        name,
        ...row,
        microseconds: Math.round(row.microseconds * 10) / 10,
        cycles: Math.round((row.microseconds / row.calls) * (tscHz / 1e6)),
      }))
      .sort((a, b) => b.microseconds - a.microseconds);
  }
}

/** Cells of the table: share of the time, µs, cycles a call, calls, refused, name. */
export function summaryCells(rows: readonly SummaryRow[]): string[][] {
  const all = rows.reduce((sum, { microseconds }) => sum + microseconds, 0);
  return rows.map(({ name, calls, refused, microseconds, cycles }) => [
    `${all === 0 ? '0.0' : ((microseconds / all) * 100).toFixed(1)} %`,
    microseconds.toFixed(1),
    cycles.toLocaleString('en-US'),
    String(calls),
    refused === 0 ? '' : String(refused),
    name,
  ]);
}

/** Headings of {@link summaryCells}. */
export const SUMMARY_HEADINGS = ['time', 'µs', 'cycles/call', 'calls', 'refused', 'leaf or call'] as const;
