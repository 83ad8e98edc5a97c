/** Checks that no sequence can trip, each with the reason. A row that is reached all the same is reported. */

const ROWS: readonly (readonly [row: string, reason: string])[] = [];

/** Reason by `LEAF.check`. */
export const UNREACHABLE: ReadonlyMap<string, string> = new Map(ROWS);
