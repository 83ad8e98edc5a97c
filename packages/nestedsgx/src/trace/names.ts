/** What leaves and calls are called, what their operands mean and where they are described. */
import { ENCLS, ENCLU } from '@nestedsgx/arch';
import { CALL_ROWS, ENCLS_LEAVES, ENCLU_LEAVES } from '@nestedsgx/monitor';

/** Names for one leaf or call. */
export interface Described {
  /** Meaning of each operand in the order of a record's; undefined for one that is not used. */
  readonly operands: readonly (string | undefined)[];
  readonly section: string;
  readonly progress?: 'bytes' | 'entries';
}

const LEAF_REGISTERS = ['RBX', 'RCX', 'RDX'] as const;
const CALL_REGISTERS = ['RCX', 'RDX', 'R8'] as const;
const UNKNOWN = Object.freeze({ section: '' });

/** `RBX = PAGEINFO, RCX = EPC page` by register. */
function meanings(text: string, registers: readonly string[]): (string | undefined)[] {
  const found = new Map<string, string>();
  for (const [, register, meaning] of text.matchAll(/\b(R[A-D]X|R8|R9) = ([^,;]+)/g))
    found.set(register as string, (meaning as string).trim());
  return registers.map((register) => found.get(register));
}

const table = new Map<string, Described>();
for (const { name, operands, section } of [...ENCLS_LEAVES, ...ENCLU_LEAVES])
  table.set(name, { operands: meanings(operands, LEAF_REGISTERS), section });
for (const { name, operands, section, progress } of CALL_ROWS)
  table.set(name, { operands: meanings(operands, CALL_REGISTERS), section, progress });

/** Everything that may be asked for by name. */
export const TRACE_NAMES: readonly string[] = Object.freeze([
  ...new Set([...table.keys(), ...Object.keys(ENCLS), ...Object.keys(ENCLU)]),
]);

/** The description of a leaf or call; registers stand for the operands of one that is not known. */
export function describe(kind: 'encls' | 'enclu' | 'svsm', name: string): Described {
  const known = table.get(name);
  if (known !== undefined) return known;
  return { ...UNKNOWN, operands: kind === 'svsm' ? CALL_REGISTERS : LEAF_REGISTERS };
}

/** The section that a check such as `EADD.page-valid` follows. */
export function sectionOfCheck(check: string): string {
  return table.get(check.split('.')[0] as string)?.section ?? '';
}
