/** C structures in the style of sgx_edger8r, written from the parsed interface and not from our layout; and gcc. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EdlType, type EdlVariable, type ParsedEdl, typeText } from '../src/index.js';

const cType = (type: EdlType): string => typeText(type);
const dims = (variable: EdlVariable) => variable.dimensions.map((n) => `[${n}]`).join('');

/** Definitions of an interface's types and marshalling structures. */
export function structures(edl: ParsedEdl): string {
  const lines: string[] = [];
  for (const type of edl.types)
    if (type.kind === 'enum')
      lines.push(
        `typedef enum ${type.name ?? ''} { ${type.constants.map(({ name, value }) => (value === undefined ? name : `${name} = ${value}`)).join(', ')} } ${type.name ?? 'nameless'};`,
      );
    else
      lines.push(
        `typedef ${type.kind} ${type.name} {`,
        ...type.members.map((m) => `  ${cType(m.type)} ${m.name}${dims(m)};`),
        `} ${type.name};`,
      );
  for (const fn of [...edl.trusted, ...edl.untrusted]) {
    const fields: string[] = [];
    if (typeText(fn.returns) !== 'void') fields.push(`${cType(fn.returns)} ms_retval;`);
    if (fn.kind === 'untrusted' && fn.propagateErrno) fields.push('int ocall_errno;');
    for (const p of fn.parameters) {
      const a = p.attributes;
      const star = p.dimensions.length > 0 || a?.isary ? '*' : '';
      fields.push(
        `${a?.readonly && p.type.kind === 'pointer' ? 'const ' : ''}${cType(p.type)}${star} ms_${p.name};`,
      );
      if (fn.kind === 'trusted' && (a?.string || a?.wstring)) fields.push(`size_t ms_${p.name}_len;`);
    }
    if (fields.length > 0)
      lines.push(`typedef struct ms_${fn.name}_t {`, ...fields.map((f) => `  ${f}`), `} ms_${fn.name}_t;`);
  }
  return lines.join('\n');
}

/** Compiles a C program in a folder of its own, which `remove` removes. */
export function compile(source: string): {
  readonly program: string;
  readonly folder: string;
  remove(): void;
} {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-edl-'));
  const program = join(folder, 'a');
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    writeFileSync(`${program}.c`, source);
    const options = ['-std=gnu17', '-O1', '-w', '-o', program, `${program}.c`];
    execFileSync('gcc', options, { stdio: 'pipe', timeout: 120_000 });
  } catch (error) {
    remove();
    throw error;
  }
  return { program, folder, remove };
}

/** Compiles a C program, gives it to `use` and removes it. */
export function withProgram<T>(source: string, use: (program: string) => T): T {
  const { program, remove } = compile(source);
  try {
    return use(program);
  } finally {
    remove();
  }
}

export const HEADERS = [
  'stdio.h',
  'stdint.h',
  'stddef.h',
  'stdbool.h',
  'stdlib.h',
  'string.h',
  'wchar.h',
  'sys/types.h',
  'sys/socket.h',
  'time.h',
]
  .map((name) => `#include <${name}>`)
  .join('\n');
