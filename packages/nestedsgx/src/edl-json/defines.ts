/** `--define NAME=VALUE`. */
import { UsageError } from '../cli/terminal.js';

/** Macros by name; 1 without a value, as for C compilers. @throws UsageError */
export function definesOf(given: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    given.map((text) => {
      const found = /^([A-Za-z_]\w*)(?:=(0[xX][0-9a-fA-F]+|[0-9]+))?$/.exec(text);
      const value = Number(found?.[2] ?? 1);
      if (found === null || !Number.isSafeInteger(value))
        throw new UsageError(`--define wants NAME or NAME=NUMBER, not "${text}"`);
      return [found[1], value];
    }),
  );
}
