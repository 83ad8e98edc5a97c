import { Command, CommanderError } from 'commander';
import { loadCommands } from './commands/index.js';
import { type CommonOptions, ExitWith, Refused, reportError, Terminal } from './terminal.js';

/** One command of `nsgx`: it registers its arguments, options and an example, and returns nothing. */
export interface CommandModule {
  readonly name: string;
  register(program: Command, act: ActionWrapper): void;
}

/** Wraps a command's action: hands it a terminal and turns its errors into exit codes. */
export type ActionWrapper = <A extends unknown[]>(
  action: (terminal: Terminal, ...args: A) => Promise<void> | void,
) => (...args: A) => Promise<void>;

const PROGRAM_HELP = `
Examples:
  $ nsgx demo                       the tour
  $ nsgx new hello && nsgx build hello && nsgx run hello add 2 3
  $ nsgx doctor                     what this machine offers`;

/**
 * Runs `nsgx` with the given arguments.
 * @returns the exit code: 0 done, 1 refused or failed, 2 wrong usage; `trace` gives that of the command it ran
 */
export async function run(argv: readonly string[]): Promise<number> {
  const program = new Command('nsgx')
    .description('SGX enclaves inside a confidential VM, on any x86-64 Linux machine')
    .version('0.1.0')
    .option('--json', 'print one JSON document on stdout and nothing else')
    .option('--verbose', 'with an error, print its causes')
    .addHelpText('after', PROGRAM_HELP)
    .showHelpAfterError('(nsgx --help, or nsgx COMMAND --help, shows what is expected)')
    .exitOverride();
  let exitCode = 0;
  const act: ActionWrapper =
    (action) =>
    async (...args) => {
      const options = program.opts<CommonOptions>();
      const own = args.find((arg): arg is Command => arg instanceof Command)?.opts<CommonOptions>();
      const merged = { json: options.json || own?.json, verbose: options.verbose || own?.verbose };
      try {
        await action(new Terminal(merged), ...args);
      } catch (error) {
        if (error instanceof ExitWith) exitCode = error.status;
        else exitCode = error instanceof Refused && error.message === '' ? 1 : reportError(error, merged);
      }
    };
  for (const command of await loadCommands(argv)) command.register(program, act);
  for (const command of program.commands) {
    command.option('--json', 'print one JSON document on stdout and nothing else');
    command.option('--verbose', 'with an error, print its causes');
    command.exitOverride();
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}
