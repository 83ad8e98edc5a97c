/** Which checks of which leaves were reached, how often, and which never can be. */
import { EENTER_CHECKS, ENCLS_LEAVES, ENCLU_LEAVES, type LeafOutcome } from '@nestedsgx/monitor';
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
  readonly #hits = new Map<string, number>();
  /** Leaf calls executed on both sides. */
  calls = 0;
  /** Of them those that encrypt, hash or verify. */
  cryptographic = 0;

  note(leaf: string, outcome: LeafOutcome): void {
    const list = outcome.list;
    const name = list === null ? leaf : `${list.leaf}.${list.rows[outcome.check].id}`;
    this.#hits.set(name, (this.#hits.get(name) ?? 0) + 1);
  }

  hits(name: string): number {
    return this.#hits.get(name) ?? 0;
  }

  /** Adds another count to this one. */
  add(other: Coverage): void {
    for (const [name, n] of other.#hits) this.#hits.set(name, this.hits(name) + n);
    this.calls += other.calls;
    this.cryptographic += other.cryptographic;
  }

  /** Success and every check of every leaf in the tables. */
  rows(): CoverageRow[] {
    const out: CoverageRow[] = [];
    const seen = new Set<string>();
    const add = (name: string, outcome: string, processor = false) => {
      if (seen.has(name)) return;
      seen.add(name);
      const reason = processor ? 'decided by the processor' : UNREACHABLE.get(name);
      out.push({
        name,
        outcome,
        hits: this.hits(name),
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
