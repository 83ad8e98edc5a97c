import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  type CallDescription,
  describeEdl,
  type EdlDescription,
  type ForeignType,
  generateTrustedC,
  generateTypeScript,
} from '@nestedsgx/edl';
import { readEdl } from '@nestedsgx/enclave';
import type { Command } from 'commander';
import { definesOf } from '../../edl-json/defines.js';
import { readLimited } from '../files.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

const TYPES_LIMIT = 1024 * 1024;

interface EdlOptions {
  readonly ts?: string;
  readonly c?: string;
  readonly searchPath: readonly string[];
  readonly types?: string;
  readonly define: readonly string[];
  readonly name?: string;
}

export const edlCommand: CommandModule = {
  name: 'edl',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('edl')
      .description('read an interface in EDL: list its calls, or make bindings of it')
      .argument('<file>', 'NAME.edl')
      .option('--ts <file>', 'write TypeScript for the host')
      .option('--c <dir>', 'write NAME_t.h and NAME_t.c for the enclave')
      .option('--search-path <dir>', 'folder with imported files; may be repeated', collect, [])
      .option('--types <json>', 'sizes of types that only C headers know')
      .option('--define <name=value>', 'macro of the file or of C headers; may be repeated', collect, [])
      .option('--name <name>', 'name of the TypeScript constant (default: NAME)')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx edl Enclave.edl --search-path $SGX_SDK/include\n  $ nsgx edl Enclave.edl --ts enclave.ts --c src',
      )
      .action(act(runEdl));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

function runEdl(terminal: Terminal, path: string, options: EdlOptions): void {
  const edl = readEdl(path, '.', options.searchPath, definesOf(options.define));
  for (const { message, file, line, column } of edl.warnings)
    terminal.note(`${file}:${line}:${column}: warning: ${message}`);
  const description = describeEdl(edl, { types: readTypes(options.types), allowUnknown: true });
  const files: string[] = [];
  if (options.ts !== undefined) {
    writeFileSync(options.ts, generateTypeScript(description, options.name));
    files.push(options.ts);
  }
  if (options.c !== undefined) {
    const { header, source } = generateTrustedC(edl);
    mkdirSync(options.c, { recursive: true });
    for (const [suffix, text] of [
      ['_t.h', header],
      ['_t.c', source],
    ]) {
      const file = join(options.c, `${edl.name}${suffix}`);
      writeFileSync(file, text);
      files.push(file);
    }
  }
  terminal.answer(
    { description, files },
    files.length > 0 ? files.map((file) => `  ${file}`) : calls(terminal, description),
  );
}

function readTypes(path: string | undefined): Record<string, ForeignType> {
  if (path === undefined) return {};
  try {
    return JSON.parse(Buffer.from(readLimited(path, TYPES_LIMIT, 'types')).toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw new UsageError(`${basename(path)} is not JSON: ${error.message}`);
    throw error;
  }
}

function calls(terminal: Terminal, { ecalls, ocalls }: EdlDescription): string[] {
  const row = (kind: string, call: CallDescription, i: number): string[] => {
    const names = call.parameters.map((p) => p.name).join(', ');
    const notes = [
      call.isPublic === false ? 'private' : '',
      call.switchless ? 'switchless' : '',
      (call.allow ?? []).length > 0
        ? `allows ${(call.allow ?? []).map((n) => ecalls[n]?.name).join(', ')}`
        : '',
      call.unavailable?.split('\n')[0] ?? '',
    ].filter((note) => note !== '');
    return [`${kind} ${i}`, `${call.name}(${names})`, notes.join('; ')];
  };
  return terminal.table([
    ...ecalls.map((call, i) => row('ecall', call, i)),
    ...ocalls.map((call, i) => row('ocall', call, i)),
  ]);
}
