import { createHash } from 'node:crypto';
import {
  EXCEPTIONS,
  EXINFO_VECTORS,
  FAULT_SIGNALS,
  ILLEGAL_OPCODES,
  ILLEGAL_OPCODES_0F,
  REPORTED_VECTORS,
} from '../exceptions.js';
import { ANSWER, CONTROL, CONTROL_TCS, LOST_REASON, TCS_FLAG, TCS_STATE } from './control.js';
import {
  EXIT_KIND,
  GATE,
  GATE_FUNCTION,
  GATE_FUNCTION_TF,
  INTERRUPT_VECTOR,
  NO_CPU,
  PROGRESS,
  VM_ROOT_LA57,
} from './gate.js';
import { type Field, type Layout, SCALAR_BYTES } from './layout.js';
import {
  AEP_ADDRESS,
  DESCRIPTOR_CALL,
  DESCRIPTORS,
  DESCRIPTORS_MIN,
  GRANT_SOCKET,
  KICK_SIGNAL,
  MAX_MAPS,
  MAX_OUTSIDE_MAPS,
  MAX_SITES,
  MAX_THREADS,
  RAM_FILE,
  RUNNER_MEMORY,
  SLICE_MS,
  SLICE_SIGNAL,
  SPIN_MAX_CYCLES,
  VM_SPIN_CYCLES,
} from './memory.js';
import { AGENT, AGENT_OP, HELLO, HELLO_FLAG, MAGIC, START, STARTED, STARTED_FLAG } from './messages.js';
import {
  MAP_FLAG,
  PLAN,
  PLAN_FILE,
  PLAN_FLAG,
  PLAN_MAP,
  PLAN_RANGE,
  PLAN_SIGNATURE,
  PLAN_SITE,
  SITE_KIND,
} from './plan.js';
import { BESIDE, RELAY, REVOKE, VM_INFO, VM_INFO_MAGIC, VM_INFO_VERSION } from './relay.js';
import { BACK, THREAD } from './thread.js';

const LAYOUTS: readonly Layout<Record<string, Field>>[] = [
  GATE,
  CONTROL,
  CONTROL_TCS,
  PLAN,
  PLAN_MAP,
  PLAN_RANGE,
  PLAN_SITE,
  HELLO,
  START,
  STARTED,
  AGENT,
  THREAD,
  RELAY,
  VM_INFO,
  REVOKE,
];

const TABLES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  MEMORY: RUNNER_MEMORY,
  GATE_FUNCTION,
  EXIT_KIND,
  PROGRESS,
  TCS_STATE,
  TCS_FLAG,
  ANSWER,
  LOST: LOST_REASON,
  PLAN_FLAG,
  MAP_FLAG,
  PLAN_FILE,
  SITE_KIND,
  MAGIC,
  HELLO_FLAG,
  STARTED_FLAG,
  AGENT_OP,
  BACK,
  BESIDE,
};

const bits = (list: readonly number[]) => list.reduce((mask, bit) => mask | (1 << bit), 0);

const NUMBERS: Readonly<Record<string, number>> = {
  MAX_THREADS,
  MAX_SITES,
  MAX_MAPS,
  MAX_OUTSIDE_MAPS,
  RAM_FILE,
  DESCRIPTOR_CALL,
  GRANT_SOCKET,
  DESCRIPTORS,
  DESCRIPTORS_MIN,
  VM_SPIN_CYCLES,
  AEP_ADDRESS,
  KICK_SIGNAL,
  SPIN_MAX_CYCLES,
  SLICE_SIGNAL,
  SLICE_MS,
  INTERRUPT_VECTOR,
  GATE_FUNCTION_TF,
  NO_CPU,
  PLAN_SIGNATURE,
  VM_ROOT_LA57,
  VM_INFO_VERSION,
  REPORTED_VECTORS: bits(REPORTED_VECTORS),
  EXINFO_VECTORS: bits(EXINFO_VECTORS),
};

const snake = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

function structText({ name, size, fields }: Layout<Record<string, Field>>): string {
  const lines: string[] = [];
  let end = 0;
  const pad = (to: number) => {
    if (to > end) lines.push(`  u8 reserved_at_${end}[${to - end}];`);
  };
  for (const [field, [type, offset, count = 1]] of Object.entries(fields)) {
    pad(offset);
    lines.push(`  ${type} ${snake(field)}${count > 1 ? `[${count}]` : ''};`);
    end = offset + SCALAR_BYTES[type] * count;
  }
  pad(size);
  const align = Object.values(fields).some(([type]) => type === 'u64') ? 8 : 4;
  return `struct ${name} {\n${lines.join('\n')}\n} __attribute__((aligned(${align})));\n_Static_assert(sizeof(struct ${name}) == ${size}, "${name}");\n`;
}

function definitions(): string {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(NUMBERS)) lines.push(`#define ${name} ${value}`);
  lines.push(`#define VM_INFO_MAGIC 0x${VM_INFO_MAGIC.toString(16)}ul`);
  for (const [table, entries] of Object.entries(TABLES))
    for (const [name, value] of Object.entries(entries)) lines.push(`#define ${table}_${name} ${value}`);
  for (const { name, size, fields } of LAYOUTS) {
    lines.push(`#define ${name.toUpperCase()}_BYTES ${size}`);
    for (const [field, [, offset]] of Object.entries(fields))
      lines.push(`#define ${name.toUpperCase()}_${snake(field).toUpperCase()} ${offset}`);
  }
  return lines.join('\n');
}

function exceptionText(): string {
  const rows = EXCEPTIONS.map(
    (e) => `  { ${e.signal}, ${e.trap}, ${e.vector}, ${e.rewind} }, /* ${e.name} */`,
  );
  const bytes = (list: readonly number[]) => list.map((b) => `0x${b.toString(16)}`).join(', ');
  return [
    'struct exception_row { s32 signal, trap; u32 vector, rewind; };',
    '#ifdef WANT_EXCEPTION_TABLE',
    `static const struct exception_row exception_rows[] = {\n${rows.join('\n')}\n};`,
    `static const u8 illegal_opcodes[] = { ${bytes(ILLEGAL_OPCODES)} };`,
    `static const u8 illegal_opcodes_0f[] = { ${bytes(ILLEGAL_OPCODES_0F)} };`,
    '#endif',
    '#ifdef WANT_FAULT_SIGNALS',
    `static const int fault_signals[] = { ${FAULT_SIGNALS.join(', ')} };`,
    '#endif',
  ].join('\n');
}

function body(): string {
  return [
    definitions(),
    '#ifndef __ASSEMBLER__',
    '#ifndef __KERNEL__',
    'typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;',
    'typedef int s32; typedef long s64;',
    '#endif',
    ...LAYOUTS.map(structText),
    exceptionText(),
    '#endif',
  ].join('\n');
}

/** First eight bytes of the SHA-256 of all layouts: a runner built from other layouts is refused at HELLO. */
export function layoutId(): bigint {
  identity ??= createHash('sha256').update(body()).digest().readBigUInt64LE(0);
  return identity;
}

let identity: bigint | undefined;

/** The C header that the native parts are compiled with. */
export function headerText(): string {
  return [
    '/* Generated from packages/cpu/src; do not edit. */',
    '#ifndef NSGX_LAYOUT_H',
    '#define NSGX_LAYOUT_H',
    `#define LAYOUT_ID 0x${layoutId().toString(16)}ul`,
    body(),
    '#endif',
    '',
  ].join('\n');
}
