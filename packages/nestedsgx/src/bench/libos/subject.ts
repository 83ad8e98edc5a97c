/** Something that is measured natively and in an enclave, in turn. */
import { existsSync } from 'node:fs';
import type { BenchContext, Row } from '../row.js';
import { median, quantile } from '../statistics.js';
import { firstLine, type Side, type Stage, type Transport, which } from './stage.js';

/** A program that is needed, and the package of Debian that has it. */
export interface Need {
  readonly program: string;
  readonly package: string;
}

/** Figures of one run by their names; where there is none, why. */
export type Figures = ReadonlyMap<string, number | string>;

/** What is measured in one go. */
export interface Subject {
  readonly name: string;
  readonly needs: readonly Need[];
  readonly rounds: number;
  /** Figures by name with their units. */
  readonly figures: Readonly<Record<string, { readonly unit: string; readonly note: string }>>;
  /** By each transport, not only by the one that is the rule. */
  readonly transports?: true;
  /** Prepares, and returns what measures once. */
  begin(stage: Stage, short: boolean): (side: Side) => Figures | Promise<Figures>;
}

/** What a subject needs and this machine has not. */
export function missing({ needs }: Subject): readonly Need[] {
  return needs.filter(({ program }) =>
    program.startsWith('/') ? !existsSync(program) : which(program) === undefined,
  );
}

/** No subject begins a further round after this time. */
const BUDGET_MS = 40_000;

type Sides = Map<Side, Map<string, number[]>>;

/** Rows of a subject. A side that fails has rows without a value, which say why. */
export async function measure(
  context: BenchContext,
  stage: Stage,
  subject: Subject,
  transports: readonly Transport[],
): Promise<Row[]> {
  const lacking = missing(subject);
  if (lacking.length > 0) {
    const names = lacking.map((need) => need.package).join(', ');
    return rowsOf(subject, transports, new Map(), new Map(), `needs Debian's ${names}`);
  }
  const found: Sides = new Map();
  const reasons = new Map<string, string>();
  const once = subject.begin(stage, context.short);
  const sides: Side[] = ['native', ...transports];
  const limit = performance.now() + BUDGET_MS;
  for (let round = 0; round < (context.short ? 1 : subject.rounds); round++) {
    if (round > 0 && performance.now() > limit) break;
    for (const side of sides) {
      if (reasons.has(side)) continue;
      context.note(`${subject.name}, ${side}, ${round + 1}`);
      try {
        for (const [name, value] of await once(side)) {
          if (typeof value === 'string') reasons.set(`${side} ${name}`, value);
          else
            at(
              at(found, side, () => new Map()),
              name,
              () => [],
            ).push(value);
        }
      } catch (error) {
        reasons.set(side, firstLine((error as Error).message));
      }
    }
  }
  return rowsOf(subject, transports, found, reasons);
}

function at<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const there = map.get(key) ?? make();
  map.set(key, there);
  return there;
}

function rowsOf(
  subject: Subject,
  transports: readonly Transport[],
  found: Sides,
  reasons: ReadonlyMap<string, string>,
  skipped?: string,
): Row[] {
  const several = subject.transports === true;
  return Object.entries(subject.figures).flatMap(([name, { unit, note }]) =>
    transports.map((side) => {
      const inside = found.get(side)?.get(name) ?? [];
      const native = found.get('native')?.get(name) ?? [];
      const reason = skipped ?? reasons.get(side) ?? reasons.get(`${side} ${name}`) ?? 'gave no figure';
      return {
        name: `libos ${subject.name}`,
        form: several ? `${name}, ${side}` : name,
        value: inside.length === 0 ? null : median(inside),
        unit,
        p99: inside.length === 0 ? null : quantile(inside, unit.endsWith('/s') ? 0.01 : 0.99),
        floor: native.length === 0 ? null : median(native),
        peer: null,
        paper: null,
        note: inside.length === 0 ? reason : note,
      };
    }),
  );
}
