/** docs/SYSCALLS.md, generated from the table. */
import { ERRNO, type SyscallRow } from './row.js';
import { SYSCALLS } from './table.js';

function cell(row: SyscallRow): string {
  if (row.status === 'supported') return 'supported | ';
  if (row.status === 'partial') return `partial | ${row.note}`;
  return `refused | ${row.errno} (${ERRNO[row.errno!]}): ${row.note}`;
}

/** The text of docs/SYSCALLS.md. */
export function syscallsMarkdown(): string {
  const count = (status: SyscallRow['status']) => SYSCALLS.filter((row) => row.status === status).length;
  const rows = SYSCALLS.map((row) => `| ${row.number} | \`${row.name}\` | ${cell(row)} |`);
  return `# System calls of the library OS

Generated from \`packages/libos/src/syscalls/table.ts\`, which is also what the dispatcher is made of: do not edit.
${count('supported')} are supported, ${count('partial')} in part, ${count('refused')} are refused. With \`nsgx exec --verbose\` each refused call
says its name once.

| # | Call | | Note |
|--:|---|---|---|
${rows.join('\n')}
`;
}
