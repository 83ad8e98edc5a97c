/** What an attack is, and what it reports. */
import type { Stage } from './stage/stage.js';

/** One attack as carried out by one attacker. */
export interface Finding {
  /** As whom: an account, or code inside an enclave. */
  readonly as: string;
  /** False when the attacker got, changed or stopped what it must not. */
  readonly held: boolean;
  /** What was really observed, in a sentence or two. */
  readonly observed: string;
}

/** What an attack aims at; folders of this directory carry the same names. */
export const ATTACK_GROUPS = Object.freeze([
  'memory',
  'lifecycle',
  'entry',
  'races',
  'deputy',
  'paging',
  'dynamic',
  'keys',
  'process',
  'denial',
] as const);
export type AttackGroup = (typeof ATTACK_GROUPS)[number];

/** The part that the attacker plays. */
export type Role = 'guest OS' | 'hypervisor' | 'app' | 'enclave' | 'local user' | 'whoever carries the data';

/** A finding with its attack: one line of the report. */
export interface AttackResult extends Finding {
  readonly name: string;
  /** `guest`: from inside a guest with a kernel of its own. */
  readonly group: AttackGroup | 'guest';
  readonly by: Role;
  readonly tries: string;
}

/** A row of the table of attacks. */
export interface Attack {
  readonly name: string;
  readonly group: AttackGroup;
  readonly by: Role;
  /** What shows that the attack reaches its target, so that a success would be noticed. */
  readonly control: string;
  /** Few words. */
  readonly title: string;
  /** What is tried. */
  readonly tries: string;
  /** Carries it out. What it throws counts as broken: an attack that could not be tried did not hold. */
  run(stage: Stage): Promise<Finding[]>;
}

/** Counts answers by text: "12 × #UD, 3 × ENCLAVE_LOST". */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  count(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  get total(): number {
    let sum = 0;
    for (const count of this.#counts.values()) sum += count;
    return sum;
  }

  toString(): string {
    const rows = [...this.#counts].sort((a, b) => b[1] - a[1]);
    return rows.map(([what, count]) => (count === 1 ? what : `${count} × ${what}`)).join(', ') || 'nothing';
  }
}

/** The finding of an attack with a list of what went wrong: held when the list is empty. */
export function finding(as: string, observed: string, broken: readonly (string | null | false)[]): Finding {
  const reasons = broken.filter((reason): reason is string => typeof reason === 'string');
  return {
    as,
    held: reasons.length === 0,
    observed: reasons.length === 0 ? observed : `${reasons.join('; ')} (${observed})`,
  };
}

/** One thing that must be refused: what it is, and a way to try it that gives the answer's code. */
export interface Case {
  readonly what: string;
  readonly act: () => string | Promise<string>;
}

/** Tries every case; those that give `success` are broken. */
export async function refuse(
  cases: readonly Case[],
  codes: Tally = new Tally(),
  broken: (string | null | false)[] = [],
): Promise<{ codes: Tally; broken: (string | null | false)[] }> {
  for (const { what, act } of cases) {
    const code = await act();
    codes.add(code);
    if (code === 'success') broken.push(`${what} succeeded`);
  }
  return { codes, broken };
}
