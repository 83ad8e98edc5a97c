/** What `nsgx doctor` reports: one row per thing that enclaves need or profit from. */

/**
 * - `ok`: there.
 * - `missing`: not there; `cost` says what that costs and `cure` what to do.
 * - `info`: neither good nor bad.
 */
export type RowStatus = 'ok' | 'missing' | 'info';

/** One row of the report. */
export interface Row {
  /** Stable name, for scripts. */
  readonly id: string;
  readonly status: RowStatus;
  /** What was found. */
  readonly found: string;
  /** True when enclaves cannot run without it. */
  readonly needed: boolean;
  readonly cost?: string;
  readonly cure?: string;
}

export const ok = (id: string, found: string): Row => ({ id, status: 'ok', found, needed: false });

export const info = (id: string, found: string): Row => ({ id, status: 'info', found, needed: false });

/** Something that enclaves can do without, at a cost. */
export const missing = (id: string, found: string, cost: string, cure: string): Row => ({
  id,
  status: 'missing',
  found,
  needed: false,
  cost,
  cure,
});

/** Something without which no enclave runs. */
export const fatal = (id: string, found: string, cure: string): Row => ({
  id,
  status: 'missing',
  found,
  needed: true,
  cost: 'no enclave can run',
  cure,
});
