/** Figures of an enclave. */
import { VECTOR } from '@nestedsgx/arch';
import { toHex } from './hex.js';
import type { LeafCount } from './leaf/counters.js';
import type { ProcessorCounters } from './ports.js';
import type { EnclaveRecord } from './state/enclave.js';

/** Events that only the processor sees, since EINIT. */
export interface TransitionCounts {
  eenter: number;
  eresume: number;
  eexit: number;
  /** Asynchronous exits by cause: `#PF`, `#UD`, …, and `interrupt`. Causes that did not occur are missing. */
  aex: Record<string, number>;
}

/** Figures of one enclave. */
export interface EnclaveStats {
  id: number;
  owner: number;
  /** `evicted`: its SECS is not in EPC. */
  state: 'uninitialized' | 'running' | 'evicted' | 'lost';
  lost: string | null;
  pid: number | null;
  base: number;
  size: number;
  /** Pages in EPC, without the SECS. */
  pages: number;
  threads: number;
  debug: boolean;
  /** Hex; empty before EINIT. */
  mrenclave: string;
  mrsigner: string;
  transitions: TransitionCounts;
  /** Pages evicted, loaded and augmented so far, and how often EWB or ELD was refused for the state or contents of a page. */
  paging: { evicted: number; loaded: number; augmented: number; refused: number };
  /** Leaves on its pages and by its threads, by name. */
  leaves: Record<string, LeafCount>;
}

const NO_TRANSITIONS: ProcessorCounters = Object.freeze({ eenter: 0, eresume: 0, eexit: 0, aex: [] });
/** Index of interrupts among the exits of a processor's counters. */
const INTERRUPT = 32;
const CAUSES = new Map<number, string>([
  ...Object.entries(VECTOR).map(([name, vector]): [number, string] => [vector, `#${name}`]),
  [INTERRUPT, 'interrupt'],
]);

/** Counts of a processor with exits by name of their cause. */
export function transitionCounts({ eenter, eresume, eexit, aex }: ProcessorCounters): TransitionCounts {
  const named: Record<string, number> = {};
  aex.forEach((count, vector) => {
    if (count > 0) named[CAUSES.get(vector) ?? `#${vector}`] = count;
  });
  return { eenter, eresume, eexit, aex: named };
}

/** Figures of an enclave as they are now. */
export function enclaveStats(enclave: EnclaveRecord): EnclaveStats {
  const lost = enclave.lost ?? enclave.running?.lost ?? null;
  const { initialized, secsFrame } = enclave;
  return {
    id: enclave.id,
    owner: enclave.owner,
    state: lost !== null ? 'lost' : secsFrame < 0 ? 'evicted' : initialized ? 'running' : 'uninitialized',
    lost,
    pid: enclave.running?.pid ?? null,
    base: enclave.base,
    size: enclave.size,
    pages: enclave.children,
    threads: enclave.tcs.filter((tcs) => tcs !== null).length,
    debug: (enclave.flags & 2n) !== 0n,
    mrenclave: initialized ? toHex(enclave.secs.subarray(64, 96)) : '',
    mrsigner: initialized ? toHex(enclave.secs.subarray(128, 160)) : '',
    transitions: transitionCounts(enclave.running?.counters() ?? NO_TRANSITIONS),
    paging: { ...enclave.paging },
    leaves: enclave.leaves.snapshot(),
  };
}
