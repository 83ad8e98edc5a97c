/** Counts of leaves by name and outcome, and figures of an enclave. */
import { toHex } from './hex.js';
import type { LeafOutcome } from './leaf/checks.js';
import type { EnclaveRecord } from './state/enclave.js';

/** How often a leaf was executed, and how often refused (fault, code or refusal). */
export interface LeafCount {
  executed: number;
  refused: number;
}

/** Counters of one monitor. */
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

/** Figures of one enclave. */
export interface EnclaveStats {
  id: number;
  owner: number;
  state: 'uninitialized' | 'running' | 'lost';
  lost: string | null;
  pid: number | null;
  base: number;
  size: number;
  pages: number;
  threads: number;
  debug: boolean;
  /** Hex; empty before EINIT. */
  mrenclave: string;
  mrsigner: string;
}

/** Figures of an enclave as they are now. */
export function enclaveStats(enclave: EnclaveRecord): EnclaveStats {
  const lost = enclave.lost ?? enclave.running?.lost ?? null;
  const { initialized } = enclave;
  return {
    id: enclave.id,
    owner: enclave.owner,
    state: lost !== null ? 'lost' : initialized ? 'running' : 'uninitialized',
    lost,
    pid: enclave.running?.pid ?? null,
    base: enclave.base,
    size: enclave.size,
    pages: enclave.children,
    threads: enclave.tcs.length,
    debug: (enclave.flags & 2n) !== 0n,
    mrenclave: initialized ? toHex(enclave.secs.subarray(64, 96)) : '',
    mrsigner: initialized ? toHex(enclave.secs.subarray(128, 160)) : '',
  };
}
