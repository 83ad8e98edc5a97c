/** The trace hook: one event for every call and leaf, with the check that refused. */
import { svsmResultName } from '@nestedsgx/arch';
import type { LeafOutcome } from './leaf/checks.js';

/** One executed leaf or call. */
export interface TraceEvent {
  readonly kind: 'encls' | 'enclu' | 'svsm';
  /** Leaf or call name; `leaf <n>` or `call <n>` when unknown. */
  readonly name: string;
  /** Connection that asked, or that owns the enclave which did. */
  readonly owner: number;
  /** Enclave id (SECS.EID): of the page in RCX, or of the thread that asked. */
  readonly enclave?: number;
  /** Thread, for what an enclave asked. */
  readonly thread?: number;
  /** RBX, RCX, RDX (or RCX, RDX, R8 of a call); a bigint where the register holds 2^53 or more. */
  readonly operands: readonly (number | bigint)[];
  /** How it ended: `ok`, the manual's code name, `#GP(0)`, `#PF(0x…)`, or an SVSM result name. */
  readonly result: string;
  /** With a fault: vector, error code, and for #PF the address. */
  readonly fault?: { readonly vector: number; readonly errorCode: number; readonly address: number };
  /** The check that refused, as `LEAF.check-id`. */
  readonly check?: string;
  /** What that check requires. */
  readonly requires?: string;
  /** True when that check is not the manual's. */
  readonly deviation?: boolean;
  /** Progress of a call that works on many pages: bytes or pages, as its RDX says. */
  readonly done?: number;
  /** From the request's acceptance to its answer, in microseconds. */
  readonly microseconds: number;
}

/** Receives trace events. It must not throw and must not call back into the monitor. */
export type TraceSink = (event: TraceEvent) => void;

/** Clock of trace events, in milliseconds. */
export const traceClock = (): number => performance.now();

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

/** Result, fault and refusing check of an outcome, or of a call's RAX where no leaf was executed. */
export function outcomeFields(
  outcome: LeafOutcome | null,
  rax: number,
): Pick<TraceEvent, 'result' | 'fault' | 'check' | 'requires' | 'deviation'> {
  if (outcome === null) return { result: rax === 0 ? 'ok' : svsmResultName(rax) };
  const result = outcomeText(outcome);
  if (outcome.list === null) return { result };
  const row = outcome.list.rows[outcome.check];
  const { vector, errorCode, address } = outcome;
  return {
    result,
    ...(outcome.kind === 'fault' ? { fault: { vector, errorCode, address } } : {}),
    check: `${outcome.list.leaf}.${row.id}`,
    requires: row.requires,
    ...(row.deviation ? { deviation: true } : {}),
  };
}
