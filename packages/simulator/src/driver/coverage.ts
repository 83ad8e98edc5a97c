/** Which checks of which leaves were reached, how often, and which never can be. */
import {
  type CheckList,
  EENTER_CHECKS,
  ENCLS_LEAVES,
  ENCLU_LEAVES,
  type LeafOutcome,
} from '@nestedsgx/monitor';
import { UNREACHABLE } from './unreachable.js';

/** One row of the coverage table. */
export interface CoverageRow {
  /** `LEAF.check`, or `LEAF` for success. */
  readonly name: string;
  /** What the check gives when it fails; `ok` for success. */
  readonly outcome: string;
  readonly hits: number;
  /** Why the row cannot be reached here. */
  readonly unreachable?: string;
}

/** Counts of everything that leaves answered. */
export class Coverage {
  readonly #done = new Map<string, number>();
  readonly #refused = new Map<CheckList, Float64Array>();
  /** Leaf calls executed on both sides. */
  calls = 0;
  /** Of them those that encrypt, hash or verify. */
  cryptographic = 0;
  /** Seconds that those took, in the monitor. */
  cryptographicSeconds = 0;

  note(leaf: string, { list, check }: LeafOutcome): void {
    if (list === null) {
      this.#done.set(leaf, (this.#done.get(leaf) ?? 0) + 1);
      return;
    }
    let rows = this.#refused.get(list);
    if (rows === undefined) {
      rows = new Float64Array(list.rows.length);
      this.#refused.set(list, rows);
    }
    rows[check]++;
  }

  #counts(): Map<string, number> {
    const out = new Map(this.#done);
    for (const [list, rows] of this.#refused)
      list.rows.forEach(({ id }, i) => {
        const name = `${list.leaf}.${id}`;
        out.set(name, (out.get(name) ?? 0) + rows[i]);
      });
    return out;
  }

  /** How often a row was hit. */
  hits(name: string): number {
    return this.#counts().get(name) ?? 0;
  }

  /** Success and every check of every leaf in the tables. */
  rows(): CoverageRow[] {
    const out: CoverageRow[] = [];
    const seen = new Set<string>();
    const counts = this.#counts();
    const add = (name: string, outcome: string, processor = false) => {
      if (seen.has(name)) return;
      seen.add(name);
      const reason = processor ? 'decided by the processor' : UNREACHABLE.get(name);
      out.push({
        name,
        outcome,
        hits: counts.get(name) ?? 0,
        ...(reason === undefined ? {} : { unreachable: reason }),
      });
    };
    for (const row of [...ENCLS_LEAVES, ...ENCLU_LEAVES]) {
      if (row.execute !== null) add(row.name, 'ok');
      for (const check of row.checks.rows)
        add(`${row.checks.leaf}.${check.id}`, check.outcome, check.processor);
    }
    for (const check of EENTER_CHECKS.rows) add(`EENTER.${check.id}`, check.outcome, check.processor);
    return out;
  }

  /** Rows that can be reached and were not. */
  missing(): CoverageRow[] {
    return this.rows().filter((row) => row.hits === 0 && row.unreachable === undefined);
  }

  /** Rows that were said to be unreachable and were reached: the list is wrong. */
  unexpected(): CoverageRow[] {
    return this.rows().filter((row) => row.hits > 0 && row.unreachable !== undefined);
  }
}
