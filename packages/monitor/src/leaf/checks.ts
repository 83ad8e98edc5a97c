/**
 * Checks and outcomes of leaf functions. A leaf's checks are rows of a frozen list, in the order of the
 * manual's pseudo-code; refusing means naming the row, and the row says what the architecture answers.
 */
import { PFEC, SGX_ERROR, VECTOR } from '@nestedsgx/arch';

/** What a failed check gives: a fault, a code in RAX with ZF or CF, or (REFUSED) a request the platform does not take. */
export type CheckOutcome = '#GP(0)' | '#PF' | '#UD' | 'REFUSED' | keyof typeof SGX_ERROR;

/** RFLAGS of an executed leaf, at their places. */
export const FLAG_CF = 1 << 0;
export const FLAG_ZF = 1 << 6;

/** One check: stable id, outcome when it fails, and what must hold. */
export interface CheckRow {
  readonly id: string;
  readonly outcome: CheckOutcome;
  readonly requires: string;
  /** Not one of the manual's. */
  readonly deviation: boolean;
  /** The code in RAX comes with CF instead of ZF. */
  readonly carry: boolean;
  /** Done by the processor at the moment of the instruction, not by the monitor. */
  readonly processor: boolean;
}

/** The checks of one leaf, in order. */
export interface CheckList<I extends string = string> {
  readonly leaf: string;
  readonly rows: readonly CheckRow[];
  readonly at: Readonly<Record<I, number>>;
}

type RowInput = readonly [
  id: string,
  outcome: CheckOutcome,
  requires: string,
  kind?: 'deviation' | 'carry' | 'processor',
];

/** Builds a frozen check list. */
export function checkList<const R extends readonly RowInput[]>(
  leaf: string,
  rows: R,
): CheckList<R[number][0]> {
  const at = Object.fromEntries(rows.map((row, i) => [row[0], i])) as Record<R[number][0], number>;
  const list = rows.map(([id, outcome, requires, kind]) =>
    Object.freeze({
      id,
      outcome,
      requires,
      deviation: kind === 'deviation',
      carry: kind === 'carry',
      processor: kind === 'processor',
    }),
  );
  return Object.freeze({ leaf, rows: Object.freeze(list), at: Object.freeze(at) });
}

/** How a leaf ended. */
export type OutcomeKind = 'done' | 'error' | 'fault' | 'refused';

/** Result of one leaf: RAX (0 or an SGX code) and flags, or a fault, or a refusal. */
export interface LeafOutcome {
  readonly kind: OutcomeKind;
  readonly rax: number;
  /** RFLAGS: FLAG_CF | FLAG_ZF. */
  readonly flags: number;
  /** What the leaf puts into RBX (EDBGRD), else 0. */
  readonly output: number | bigint;
  readonly vector: number;
  readonly errorCode: number;
  /** Faulting address (#PF). */
  readonly address: number;
  /** Row of the check that failed, or −1. */
  readonly check: number;
  /** The list `check` is a row of, or null. */
  readonly list: CheckList | null;
}

/** The one outcome of success. */
export const DONE: LeafOutcome = Object.freeze({
  kind: 'done',
  rax: 0,
  flags: 0,
  output: 0,
  vector: 0,
  errorCode: 0,
  address: 0,
  check: -1,
  list: null,
});

/** Success with an output register. */
export function doneWith(output: bigint): LeafOutcome {
  return { ...DONE, output };
}

/** #PF error code of an EPCM violation: present, and the SGX bit. */
export const PF_EPCM = PFEC.SGX | PFEC.P;
/** #PF error code of a source operand that VMPL1 itself cannot access. */
export const PF_ACCESS = PFEC.P;

/** The outcome of failing check `id` of `list`; `address` and `errorCode` matter for #PF only. */
export function trip<I extends string>(
  list: CheckList<I>,
  id: I,
  address = 0,
  errorCode: number = PF_EPCM,
): LeafOutcome {
  const check = list.at[id];
  const { outcome, carry } = list.rows[check];
  switch (outcome) {
    case '#GP(0)':
      return refusal('fault', 0, 0, VECTOR.GP, 0, 0, check, list);
    case '#UD':
      return refusal('fault', 0, 0, VECTOR.UD, 0, 0, check, list);
    case '#PF':
      return refusal('fault', 0, 0, VECTOR.PF, errorCode, address, check, list);
    case 'REFUSED':
      return refusal('refused', 0, 0, 0, 0, 0, check, list);
    default:
      return refusal('error', SGX_ERROR[outcome], carry ? FLAG_CF : FLAG_ZF, 0, 0, 0, check, list);
  }
}

/** Every field written out: hostile guests make this path hot, and spreading an object costs ten times as much. */
function refusal(
  kind: OutcomeKind,
  rax: number,
  flags: number,
  vector: number,
  errorCode: number,
  address: number,
  check: number,
  list: CheckList,
): LeafOutcome {
  return { kind, rax, flags, output: 0, vector, errorCode, address, check, list };
}
