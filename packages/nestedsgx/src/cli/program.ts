import { Command, CommanderError, Help } from 'commander';
import { type CommonOptions, ExitWith, Refused, reportError, Terminal } from './terminal.js';

/** One command of `nsgx`: it registers its arguments, options and an example, and returns nothing. */
export interface CommandModule {
  readonly name: string;
  register(program: Command, act: ActionWrapper): void;
}

/** A command as `nsgx --help` lists it. */
export interface CommandRow {
  readonly name: string;
  /** With its arguments. */
  readonly term: string;
  readonly description: string;
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

/** Terms of commands that are only listed. */
const terms = new WeakMap<Command, string>();

/** A command that is listed and cannot be run: its module need not be loaded for that. */
export function listed({ name, term, description }: CommandRow): CommandModule {
  const register = (program: Command) => {
    const command = new Command(name).description(description);
    terms.set(command, term);
    program.addCommand(command);
  };
  return { name, register };
}

/** Rows of commands, for `listed`. */
export function commandRows(commands: readonly CommandModule[]): CommandRow[] {
  const program = makeProgram();
  const act: ActionWrapper = () => async () => undefined;
  register(program, commands, act);
  const help = program.createHelp();
  return program.commands.map((command) => ({
    name: command.name(),
    term: help.subcommandTerm(command),
    description: command.description(),
  }));
}

function makeProgram(): Command {
  return new Command('nsgx')
    .description('SGX enclaves inside a confidential VM, on any x86-64 Linux machine')
    .version('0.1.0')
    .option('--json', 'print one JSON document on stdout and nothing else')
    .option('--verbose', 'with an error, print its causes')
    .enablePositionalOptions()
    .addHelpText('after', PROGRAM_HELP)
    .showHelpAfterError('(nsgx --help, or nsgx COMMAND --help, shows what is expected)')
    .exitOverride();
}

function register(program: Command, commands: readonly CommandModule[], act: ActionWrapper): void {
  for (const command of commands) command.register(program, act);
  for (const command of program.commands) {
    command.option('--json', 'print one JSON document on stdout and nothing else');
    command.option('--verbose', 'with an error, print its causes');
    command.exitOverride();
  }
}

/**
 * Runs `nsgx` with the given arguments.
 * @returns the exit code: 0 done, 1 refused or failed, 2 wrong usage; `trace` gives that of the command it ran
 */
export async function runProgram(
  argv: readonly string[],
  load: (argv: readonly string[]) => Promise<readonly CommandModule[]>,
): Promise<number> {
  const program = makeProgram().configureHelp({
    subcommandTerm: (command) => terms.get(command) ?? new Help().subcommandTerm(command),
  });
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
  register(program, await load(argv), act);
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}
