import { loadCommands } from './commands/index.js';
import { type CommandRow, commandRows, runProgram } from './program.js';

/** Runs `nsgx` with the given arguments; see `runProgram`. */
export function run(argv: readonly string[]): Promise<number> {
  return runProgram(argv, loadCommands);
}

/** What `--help` says of each command. */
export async function allRows(): Promise<CommandRow[]> {
  return commandRows(await loadCommands());
}
