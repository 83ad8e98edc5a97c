/** Counts of leaves by name and outcome. */
import type { LeafOutcome } from './checks.js';

/** How often a leaf was executed, and how often refused (fault, code or refusal). */
export interface LeafCount {
  executed: number;
  refused: number;
}

/** Counters of one monitor, or of one enclave. */
export class LeafCounters {
  calls = 0;
  readonly #leaves = new Map<string, LeafCount>();

  /** Counts an SVSM call; `leaf` names the leaf it executed. */
  call(leaf: string | null, outcome: LeafOutcome | null): void {
    this.calls++;
    if (leaf !== null) this.leaf(leaf, outcome);
  }

  /** Counts a leaf; a null outcome is a leaf that does not exist. */
  leaf(name: string, outcome: LeafOutcome | null): void {
    const key = outcome === null ? 'unsupported' : name;
    let count = this.#leaves.get(key);
    if (count === undefined) {
      count = { executed: 0, refused: 0 };
      this.#leaves.set(key, count);
    }
    count.executed++;
    if (outcome === null || outcome.kind !== 'done') count.refused++;
  }

  /** A copy of all counts. */
  snapshot(): Record<string, LeafCount> {
    return Object.fromEntries([...this.#leaves].map(([name, count]) => [name, { ...count }]));
  }
}
