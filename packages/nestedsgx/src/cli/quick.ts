/** What the bundle of quick commands has (scripts/bundle-cli.mjs): those, and the list of all for `--help`. */
import { execCommand } from './commands/exec.js';
import { killCommand, psCommand } from './commands/ps.js';
import { type CommandRow, listed, runProgram } from './program.js';

/** Rows of all commands, filled in by the bundler. */
declare const COMMAND_ROWS: readonly CommandRow[];

const QUICK = [execCommand, psCommand, killCommand];

export function run(argv: readonly string[]): Promise<number> {
  const wanted = QUICK.filter(({ name }) => name === argv[0]);
  return runProgram(argv, async () => (wanted.length > 0 ? wanted : COMMAND_ROWS.map(listed)));
}
