/** The record of an appraisal: checks in a fixed order, each `ok`, `failed` or `skipped`, and the verdict. */
import { AttestError } from './errors.js';

/** Result of one check. `detail` says what was compared; after `failed` and `skipped` it reads on from "because". */
export interface Check {
  readonly id: string;
  readonly status: 'ok' | 'failed' | 'skipped';
  readonly detail: string;
}

/** A value of the claims: JSON, bytes as lower-case hexadecimal. */
export type ClaimValue =
  | string
  | number
  | boolean
  | null
  | readonly ClaimValue[]
  | { readonly [key: string]: ClaimValue };

/** What the evidence says. True only when the verdict is `accepted`. */
export type Claims = Record<string, ClaimValue>;

/** The outcome of {@link verify}. */
export interface Verdict {
  readonly verdict: 'accepted' | 'rejected';
  readonly checks: readonly Check[];
  readonly claims: Claims;
}

/** What the body of a check returns. */
export type Outcome =
  | { readonly status: 'ok'; readonly detail: string }
  | { readonly status: 'failed'; readonly detail: string }
  /** The policy or the caller did not ask for this: skipped, and not needed for acceptance. */
  | { readonly status: 'unasked'; readonly detail: string };

export const ok = (detail: string): Outcome => ({ status: 'ok', detail });
export const failed = (detail: string): Outcome => ({ status: 'failed', detail });
export const unasked = (detail: string): Outcome => ({ status: 'unasked', detail });

/**
 * Collects the outcomes of a fixed list of checks. A check that is never run, or whose prerequisite did not
 * come out `ok`, is reported as skipped and keeps the evidence from being accepted.
 */
export class Appraisal {
  readonly #ids: readonly string[];
  readonly #results = new Map<string, { check: Check; needed: boolean }>();
  readonly claims: Claims = {};

  constructor(ids: readonly string[]) {
    this.#ids = ids;
  }

  /** True when the check ran and came out `ok`. */
  isOk(id: string): boolean {
    return this.#results.get(id)?.check.status === 'ok';
  }

  /**
   * Runs one check unless one of `after` is not ok. An AttestError in the body fails the check.
   * @throws whatever else the body throws
   */
  async check(id: string, after: readonly string[], body: () => Outcome | Promise<Outcome>): Promise<void> {
    if (!this.#ids.includes(id) || this.#results.has(id))
      throw new RangeError(`check ${id} is not expected here`);
    const missing = after.find((dependency) => !this.isOk(dependency));
    if (missing !== undefined) {
      this.#record(id, 'skipped', `${missing} is not ok`, true);
      return;
    }
    let outcome: Outcome;
    try {
      outcome = await body();
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
      outcome = failed(clause(error.message));
    }
    if (outcome.status === 'unasked') this.#record(id, 'skipped', outcome.detail, false);
    else this.#record(id, outcome.status, outcome.detail, true);
  }

  /** The verdict: accepted only if every check is ok or was not asked for. */
  finish(): Verdict {
    const checks: Check[] = [];
    let accepted = true;
    for (const id of this.#ids) {
      const result = this.#results.get(id) ?? {
        check: { id, status: 'skipped' as const, detail: 'an earlier check stopped the appraisal' },
        needed: true,
      };
      checks.push(result.check);
      if (result.check.status === 'failed' || (result.needed && result.check.status !== 'ok'))
        accepted = false;
    }
    return { verdict: accepted ? 'accepted' : 'rejected', checks, claims: this.claims };
  }

  #record(id: string, status: Check['status'], detail: string, needed: boolean): void {
    this.#results.set(id, { check: { id, status, detail }, needed });
  }
}

/** A sentence as a clause after "because": no final stop, first letter small unless it starts a name. */
export function clause(sentence: string): string {
  const text = sentence.replace(/\.$/, '');
  return /^(The|A|An|No|It)\b/.test(text) ? text[0]!.toLowerCase() + text.slice(1) : text;
}

/** One line per check as the command line prints them, and the verdict. */
export function formatVerdict(verdict: Verdict): string {
  const width = Math.max(...verdict.checks.map((check) => check.id.length));
  const lines = verdict.checks.map((check) => {
    const id = check.id.padEnd(width);
    if (check.status === 'ok') return `${id}  ok       ${check.detail}`;
    return `${id}  ${check.status === 'failed' ? 'FAILED' : 'skipped'} because ${check.detail}`;
  });
  lines.push(`${'verdict'.padEnd(width)}  ${verdict.verdict}`);
  return lines.join('\n');
}
