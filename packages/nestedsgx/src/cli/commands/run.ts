import type { FunctionDescription, OcallHandler, ValueType } from '@nestedsgx/sdk';
import type { Command } from 'commander';
import colors from '../colors.js';
import { findImage, isSharedObject } from '../enclave-path.js';
import { bytesFromHex, hex } from '../files.js';
import { type IntelRunOptions, ocallAnswers, runIntel } from '../intel-run.js';
import { type MachineOptions, openMachine, withMachineOptions } from '../machine-options.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

interface RunOptions extends MachineOptions, IntelRunOptions {}

export const runCommand: CommandModule = {
  name: 'run',
  register(program: Command, act: ActionWrapper): void {
    withMachineOptions(
      program
        .command('run')
        .description('load an enclave and call one of its functions')
        .argument('<image>', "NAME.sgxs, NAME.signed.so of Intel's SDK, or the folder of a built project")
        .argument('<ecall>', 'name of the function')
        .argument(
          '[args...]',
          'JSON values; text may go without quotes, bytes are hexadecimal; - leaves an out parameter to its declaration',
        ),
    )
      .option('--edl <file>', 'interface of a .signed.so (default: NAME.edl or Enclave.edl beside it)')
      .option('--edl-path <dir>', 'folder with imported EDL files; may be repeated', collect, [])
      .option('--define <name=value>', 'macro of the EDL file; may be repeated', collect, [])
      .option('--ocall <name=value>', 'what an OCALL returns; may be repeated', collect, [])
      .option('--files <dir>', 'folder for protected files of a .signed.so')
      .option('--debug', 'load as a debug enclave')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx run hello add 2 3\n  $ nsgx run hello greet world' +
          "\n  $ nsgx run enclave.signed.so --edl Enclave/Enclave.edl ecall_sum '[1,2,3]' 3",
      )
      .action(act(runRun));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

async function runRun(
  terminal: Terminal,
  path: string,
  name: string,
  given: string[],
  options: RunOptions,
): Promise<void> {
  const image = findImage(path);
  if (isSharedObject(image)) return runIntel(terminal, image, name, given, options);
  await using cvm = await openMachine(options);
  const handlers: Record<string, OcallHandler> = {};
  await using enclave = await cvm.load(image, { ocalls: handlers as never, debug: options.debug });
  const description = enclave.interface;
  if (description === undefined)
    throw new UsageError(`${path} has no description (NAME.json), so no function has a name`);
  Object.assign(
    handlers,
    ocallHandlers(terminal, description.ocalls as readonly FunctionDescription[], options.ocall),
  );
  const ecall = (description.ecalls as FunctionDescription[]).find((candidate) => candidate.name === name);
  if (ecall === undefined) {
    const names = description.ecalls.map((candidate) => candidate.name).join(', ');
    throw new UsageError(`the enclave has no function "${name}"; it has ${names}`);
  }
  if (given.length !== ecall.params.length)
    throw new UsageError(`wrong number of arguments (${given.length}) for ${signatureOf(ecall)}`);
  const args = ecall.params.map((param, at) => parseArgument(given[at]!, param.type, param.name));
  const result = await (
    enclave.async as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>
  )[name]!(...args);
  terminal.answer({ result: jsonValue(result) ?? null }, result === undefined ? [] : humanValue(result));
}

function ocallHandlers(
  terminal: Terminal,
  list: readonly FunctionDescription[],
  given: string[],
): Record<string, OcallHandler> {
  const answers = ocallAnswers(given);
  for (const name of answers.keys())
    if (!list.some((ocall) => ocall.name === name))
      throw new UsageError(`the enclave has no OCALL "${name}"`);
  const handlers: Record<string, OcallHandler> = {};
  for (const { name, params, returns } of list) {
    handlers[name] = (...args: unknown[]) => {
      const shown = params.map((_, at) => JSON.stringify(jsonValue(args[at]))).join(', ');
      terminal.note(colors.dim(`ocall ${name}(${shown})`));
      if (returns === 'void') return undefined;
      const answer = answers.get(name);
      if (answer === undefined)
        throw new UsageError(
          `the enclave wants a ${returns} from ${name}: give it with --ocall ${name}=VALUE`,
        );
      return parseArgument(answer, returns, name);
    };
  }
  return handlers;
}

function signatureOf(call: FunctionDescription): string {
  return `${call.name}(${call.params.map((param) => `${param.name}: ${param.type}`).join(', ')})`;
}

function parseArgument(text: string, type: ValueType, name: string): unknown {
  const wrong = () => new UsageError(`argument ${name} must be of type ${type}, not "${text}"`);
  switch (type) {
    case 'i32':
    case 'u32':
    case 'f64': {
      const value = Number(text);
      if (text.trim() === '' || Number.isNaN(value)) throw wrong();
      return value;
    }
    case 'i64':
    case 'u64':
      if (!/^-?(0x[0-9a-f]+|\d+)$/i.test(text)) throw wrong();
      return text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text);
    case 'bool':
      if (text !== 'true' && text !== 'false') throw wrong();
      return text === 'true';
    case 'bytes':
      return bytesFromHex(text, `argument ${name}`);
    case 'string':
      return textValue(text);
  }
}

/** A JSON string, or the text as it stands. */
function textValue(text: string): string {
  if (!text.startsWith('"')) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' ? value : text;
  } catch {
    return text;
  }
}

function jsonValue(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  return typeof value === 'bigint' && BigInt(Number(value)) !== value ? value.toString() : value;
}

function humanValue(value: unknown): string {
  return value instanceof Uint8Array ? hex(value) : String(value);
}
