/** `nsgx run` with an enclave of Intel's SDK: its interface is an EDL file. */
import type { CallDescription, EdlDescription } from '@nestedsgx/edl';
import { openEdl, SgxStatusError, sgxStatus, statusOfLoadError } from '@nestedsgx/sdk';
import {
  answerFromJson,
  argumentsFromJson,
  printed,
  resultToJson,
  signatureOf,
  zeroAnswer,
} from '../edl-json/calls.js';
import { definesOf } from '../edl-json/defines.js';
import { builtInterface, edlBeside } from '../edl-json/find-edl.js';
import { toJson } from '../edl-json/values.js';
import colors from './colors.js';
import { type MachineOptions, openMachine } from './machine-options.js';
import { type Terminal, UsageError } from './terminal.js';

/** Options of `nsgx run`. */
export interface IntelRunOptions extends MachineOptions {
  ocall: string[];
  edl?: string;
  edlPath: string[];
  define: string[];
  files?: string;
  debug?: boolean;
}

/**
 * Loads the enclave, makes the call and prints what came of it. OCALLs that print go to stdout (to stderr with --json);
 * others are told on stderr and answered with what --ocall says, or with nothing where they return nothing.
 * @throws UsageError and what loading and calling throw
 */
export async function runIntel(
  terminal: Terminal,
  path: string,
  name: string,
  given: readonly string[],
  options: IntelRunOptions,
): Promise<void> {
  const edl = interfaceOf(path, options);
  const call = findEcall(edl, name);
  const ocalls = new Ocalls(terminal, edl, options.ocall);
  const json = given.map((text, i) => jsonOf(text, call, i));
  try {
    await using cvm = await openMachine(options);
    await using enclave = await cvm.load(path as `${string}.signed.so`, {
      edl,
      debug: options.debug,
      files: options.files,
      ocalls: ocalls.handlers,
      otherOcalls: (ocall, args) => ocalls.answer(ocall, args),
      onOcallError: (error) => terminal.note(colors.yellow(`ocall failed: ${error.message}`)),
    });
    const args = argumentsFromJson(call, json, enclave);
    const result = resultToJson(call, await enclave.async[name]!(...args));
    ocalls.endLine();
    terminal.answer(result, humanLines(call, result));
  } catch (error) {
    ocalls.endLine();
    tellStatus(terminal, error);
    throw error;
  }
}

/** `--ocall NAME=VALUE` as values by name. @throws UsageError */
export function ocallAnswers(given: readonly string[]): Map<string, string> {
  return new Map(
    given.map((text) => {
      const at = text.indexOf('=');
      if (at <= 0) throw new UsageError(`--ocall wants NAME=VALUE, not "${text}"`);
      return [text.slice(0, at), text.slice(at + 1)] as const;
    }),
  );
}

function interfaceOf(path: string, { edl, edlPath, define }: IntelRunOptions): EdlDescription {
  const defines = definesOf(define);
  if (edl !== undefined) return openEdl(edl, edlPath, undefined, defines);
  const built = builtInterface(path);
  if (built !== undefined) return built;
  const beside = edlBeside(path);
  if (beside === undefined)
    throw new UsageError(`there is no EDL file beside ${path}: give the one it was built with by --edl FILE`);
  return openEdl(beside, edlPath, undefined, defines);
}

function findEcall(edl: EdlDescription, name: string): CallDescription {
  const call = edl.ecalls.find((candidate) => candidate.name === name);
  if (call === undefined)
    throw new UsageError(
      `the enclave has no function "${name}"; it has ${edl.ecalls.map((ecall) => ecall.name).join(', ')}`,
    );
  if (call.unavailable !== undefined)
    throw new UsageError(`${name} cannot be called from here: ${call.unavailable}`);
  return call;
}

/** What the enclave asks for on the way. */
class Ocalls {
  readonly handlers: Record<string, (...args: unknown[]) => unknown> = {};
  readonly #terminal: Terminal;
  #lineOpen = false;

  constructor(terminal: Terminal, edl: EdlDescription, given: readonly string[]) {
    this.#terminal = terminal;
    for (const [name, text] of ocallAnswers(given)) {
      const ocall = edl.ocalls.find((candidate) => candidate.name === name);
      if (ocall === undefined) throw new UsageError(`the enclave has no OCALL "${name}"`);
      const answer = () => answerFromJson(ocall, parsed(text) ?? text);
      answer();
      this.handlers[name] = (...args) => {
        if (!this.#print(ocall, args)) this.#tell(ocall, args);
        return answer();
      };
    }
  }

  /** Answers OCALLs without --ocall. @throws UsageError for those that want a value */
  answer(ocall: CallDescription, args: readonly unknown[]): unknown {
    if (this.#print(ocall, args)) return zeroAnswer(ocall);
    this.#tell(ocall, args);
    if (ocall.returns !== undefined)
      throw new UsageError(
        `the enclave wants a value from ${ocall.name}: give it with --ocall ${ocall.name}=VALUE`,
      );
    return zeroAnswer(ocall);
  }

  /** Ends a line that the enclave left open. */
  endLine(): void {
    if (this.#lineOpen && !this.#terminal.json) process.stdout.write('\n');
    this.#lineOpen = false;
  }

  #print(ocall: CallDescription, args: readonly unknown[]): boolean {
    const text = printed(ocall, args);
    if (text === undefined) return false;
    (this.#terminal.json ? process.stderr : process.stdout).write(text);
    this.#lineOpen = text === '' ? this.#lineOpen : !text.endsWith('\n');
    return true;
  }

  #tell(ocall: CallDescription, args: readonly unknown[]): void {
    const shown = args.map((arg) => JSON.stringify(toJson(arg)) ?? '').join(', ');
    this.#terminal.note(colors.dim(`ocall ${ocall.name}(${shown})`));
  }
}

/** What was typed for a parameter, as JSON. */
function jsonOf(text: string, call: CallDescription, at: number): unknown {
  const p = call.parameters[at];
  if (p === undefined) throw new UsageError(`too many arguments for ${signatureOf(call)}`);
  if (text === 'null') return null;
  const wantsText = p.pass === 'string' || p.pass === 'wstring';
  if (wantsText ? text.startsWith('"') : /^["[{]|^(true|false)$/.test(text)) {
    const value = parsed(text);
    if (value === undefined && !wantsText)
      throw new UsageError(`argument ${p.name} is not JSON: ${text.slice(0, 80)}`);
    return value ?? text;
  }
  return text;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function humanLines(call: CallDescription, { result, out }: { result: unknown; out?: unknown }): string[] {
  const show = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  return [
    ...(call.returns === undefined ? [] : [show(result)]),
    ...Object.entries(out ?? {}).map(([name, value]) => `${name}: ${show(value)}`),
  ];
}

/** The status that a program for Intel's SDK would have got, unless the error is one. */
function tellStatus(terminal: Terminal, error: unknown): void {
  if (error instanceof SgxStatusError || error instanceof UsageError) return;
  const status = statusOfLoadError(error);
  if (status !== undefined) terminal.note(colors.dim(`sgx_status_t: ${sgxStatus(status).name}`));
}
