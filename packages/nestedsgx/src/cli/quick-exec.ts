/** The bundle of `nsgx exec` (scripts/bundle-cli.mjs). */
import { execCommand } from './commands/exec.js';
import { runProgram } from './program.js';

export function run(argv: readonly string[]): Promise<number> {
  return runProgram(argv, async () => [execCommand]);
}
