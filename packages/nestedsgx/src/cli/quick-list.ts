/** The bundle of `nsgx ps` and `nsgx kill`, and of `--help` with the list of all commands (scripts/bundle-cli.mjs). */
import { killCommand, psCommand } from './commands/ps.js';
import { type CommandRow, listed, runProgram } from './program.js';

/** Rows of all commands, filled in by the bundler. */
declare const COMMAND_ROWS: readonly CommandRow[];

export function run(argv: readonly string[]): Promise<number> {
  const wanted = [psCommand, killCommand].filter(({ name }) => name === argv[0]);
  return runProgram(argv, async () => (wanted.length > 0 ? wanted : COMMAND_ROWS.map(listed)));
}
