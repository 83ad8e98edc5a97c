/** The trace hook: one event for every call and leaf, with the check that refused. */
import type { LeafOutcome } from './leaf/checks.js';

/** One executed leaf or call. */
export interface TraceEvent {
  readonly kind: 'encls' | 'enclu' | 'svsm';
  /** Leaf or call name; `leaf <n>` or `call <n>` when unknown. */
  readonly name: string;
  /** Connection, for what a guest asked. */
  readonly owner?: number;
  /** Enclave id and thread, for what an enclave asked. */
  readonly enclave?: number;
  readonly thread?: number;
  /** RBX, RCX, RDX (or RCX, RDX, R8 of a call). */
  readonly operands: readonly number[];
  /** How it ended: `ok`, the manual's code name, `#GP(0)`, `#PF(0x…)`, or an SVSM result name. */
  readonly result: string;
  /** The check that refused, as `LEAF.check-id`. */
  readonly check?: string;
}

/** Receives trace events. It must not throw and must not call back into the monitor. */
export type TraceSink = (event: TraceEvent) => void;

/** `result` of a leaf outcome. */
export function outcomeText(outcome: LeafOutcome): string {
  if (outcome.kind === 'done') return 'ok';
  const row = outcome.list!.rows[outcome.check];
  return row.outcome === '#PF' ? `#PF(0x${outcome.address.toString(16)})` : row.outcome;
}

/** `check` of a leaf outcome. */
export function outcomeCheck(outcome: LeafOutcome): string | undefined {
  return outcome.list === null ? undefined : `${outcome.list.leaf}.${outcome.list.rows[outcome.check].id}`;
}
