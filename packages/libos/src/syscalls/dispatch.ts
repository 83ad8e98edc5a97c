/** The core's dispatcher, generated from the table: a case for each call that is served or refused. */
import { ERRNO, type SyscallRow } from './row.js';
import { SYSCALLS } from './table.js';

const ARGUMENTS = ['a', 'b', 'c', 'd', 'e', 'f'];
const PARAMETERS = ARGUMENTS.map((name) => `${name}: u64`).join(', ');
/** Calls in one switch: wasm2c follows nested blocks with a small stack. */
const GROUP = 16;

function result(row: SyscallRow): string {
  if (row.handler !== undefined) return `${row.handler}(${ARGUMENTS.slice(0, row.argumentCount).join(', ')})`;
  return `refuse(${row.number}, '${row.name}', -${ERRNO[row.errno!]})`;
}

const UNKNOWN = "refuse(number, 'of an unknown number', -38)";

/** The source of core/generated/dispatch.ts. */
export function dispatchSource(): string {
  const modules = new Map<string, Set<string>>();
  const groups = new Map<number, SyscallRow[]>();
  for (const row of SYSCALLS) {
    const group = Math.floor(row.number / GROUP);
    groups.set(group, [...(groups.get(group) ?? []), row]);
    if (row.module === undefined || row.handler === undefined) continue;
    modules.set(row.module, (modules.get(row.module) ?? new Set()).add(row.handler));
  }
  const imports = [...modules].map(
    ([module, names]) => `import { ${[...names].join(', ')} } from '../${module}';`,
  );
  const functions = [...groups].map(
    ([group, rows]) => `function group${group}(number: u32, ${PARAMETERS}): i64 {
  switch (number) {
${rows.map((row) => `    case ${row.number}: return ${result(row)};`).join('\n')}
    default: return ${UNKNOWN};
  }
}
`,
  );
  const cases = [...groups.keys()].map(
    (group) => `    case ${group}: return group${group}(number, ${ARGUMENTS.join(', ')});`,
  );
  return `// Generated from src/syscalls/table.ts.
${imports.join('\n')}
import { refuse } from '../unsupported';

${functions.join('\n')}
export function call(number: u32, ${PARAMETERS}): i64 {
  switch (number / ${GROUP}) {
${cases.join('\n')}
    default: return ${UNKNOWN};
  }
}
`;
}
