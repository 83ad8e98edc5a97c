/** The steps of a sequence: leaf functions, events of threads, and what a guest does to memory. Numbers only. */

/** What a step does. */
export type Op =
  | 'ECREATE'
  | 'EADD'
  | 'EEXTEND'
  | 'EINIT'
  | 'EREMOVE'
  | 'EPA'
  | 'EBLOCK'
  | 'ETRACK'
  | 'ETRACKC'
  | 'EWB'
  | 'ELDB'
  | 'ELDU'
  | 'ELDBC'
  | 'ELDUC'
  | 'EUPDATESVN'
  | 'EAUG'
  | 'EMODPR'
  | 'EMODT'
  | 'ERDINFO'
  | 'EDBGRD'
  | 'EDBGWR'
  | 'EREPORT'
  | 'EGETKEY'
  | 'EACCEPT'
  | 'EACCEPT_RANGE'
  | 'EMODPE'
  | 'EACCEPTCOPY'
  | 'EVERIFYREPORT2'
  | 'EENTER'
  | 'ERESUME'
  | 'EEXIT'
  | 'AEX'
  | 'EDECCSSA'
  | 'SET_PTE'
  | 'STORE'
  | 'TAMPER'
  | 'GATES'
  | 'AUTHORIZE'
  | 'REFUSE';

/** The arguments of a step. What each means depends on the operation, see {@link FIELDS}. */
export interface Arguments {
  /** EPC frame that RCX names. */
  frame: number;
  /** Frame of the SECS: the operand, or the enclave whose thread acts. */
  secs: number;
  /** Page of the ELRANGE. */
  page: number;
  /** SECINFO.FLAGS, or a kind. */
  flags: number;
  /** Source page, swap page, page of the SECINFO, or a variant. */
  source: number;
  /** Frame of a version array, or page of the third operand. */
  va: number;
  /** Slot, chunk, quadword or count. */
  slot: number;
  /** What is wrong with the operands: a row of TWISTS, 0 for nothing. */
  twist: number;
}

/** One step. */
export interface Step extends Arguments {
  op: Op;
}

const PAGING = ['frame', 'secs', 'va', 'slot', 'source', 'page'] as const;

/** The arguments that each operation uses. */
export const FIELDS: Readonly<Record<Op, readonly (keyof Arguments)[]>> = Object.freeze({
  ECREATE: ['frame', 'source', 'page'],
  EADD: ['frame', 'secs', 'page', 'flags', 'source'],
  EEXTEND: ['frame', 'secs', 'slot'],
  EINIT: ['secs', 'source', 'slot'],
  EREMOVE: ['frame'],
  EPA: ['frame'],
  EBLOCK: ['frame'],
  ETRACK: ['frame'],
  ETRACKC: ['frame'],
  EWB: ['frame', 'va', 'slot', 'source'],
  ELDB: PAGING,
  ELDU: PAGING,
  ELDBC: PAGING,
  ELDUC: PAGING,
  EUPDATESVN: [],
  EAUG: ['frame', 'secs', 'page'],
  EMODPR: ['frame', 'flags'],
  EMODT: ['frame', 'flags'],
  ERDINFO: ['frame'],
  EDBGRD: ['frame', 'slot'],
  EDBGWR: ['frame', 'slot', 'source'],
  EREPORT: ['secs', 'source', 'page', 'va', 'flags'],
  EGETKEY: ['secs', 'source', 'page', 'flags'],
  EACCEPT: ['secs', 'source', 'page', 'flags'],
  EACCEPT_RANGE: ['secs', 'source', 'page', 'slot', 'flags'],
  EMODPE: ['secs', 'source', 'page', 'flags'],
  EACCEPTCOPY: ['secs', 'source', 'page', 'va', 'flags'],
  EVERIFYREPORT2: ['secs'],
  EENTER: ['secs', 'page'],
  ERESUME: ['secs', 'page'],
  EEXIT: ['secs', 'page'],
  AEX: ['secs', 'page'],
  EDECCSSA: ['secs', 'page'],
  SET_PTE: ['secs', 'page', 'flags'],
  STORE: ['secs', 'page', 'slot', 'source'],
  TAMPER: ['source', 'flags', 'slot'],
  GATES: ['secs', 'slot'],
  AUTHORIZE: ['secs'],
  REFUSE: ['source'],
});

/** Ways in which operands are wrong. */
export const TWISTS = [
  '',
  'rbx+8',
  'rcx+8',
  'rdx+1',
  'rbx-denied',
  'rbx-read-only',
  'rcx-far',
  'rcx-huge',
  'rdx-far',
  'rdx-denied',
  'linaddr+8',
  'linaddr-outside',
  'linaddr-zero',
  'source+8',
  'source-denied',
  'source-read-only',
  'secinfo+8',
  'secinfo-denied',
  'secinfo-read-only',
  'secinfo-zero',
  'secinfo-here',
  'secinfo-reserved',
  'secs+8',
  'secs-far',
  'secs-foreign',
  'secs-zero',
  'rbx-far',
  'rdx-foreign',
  'rcx+1',
  'rcx-foreign',
] as const;

/** Name of a row of {@link TWISTS}. */
export type Twist = (typeof TWISTS)[number];

const RCX: readonly Twist[] = ['rcx+8', 'rcx-far', 'rcx-huge', 'rcx-foreign'];
const PAGEINFO: readonly Twist[] = ['rbx+8', 'rbx-denied'];
const SECS_FIELD: readonly Twist[] = ['secs+8', 'secs-far', 'secs-foreign', 'secs-zero'];
const LINADDR: readonly Twist[] = ['linaddr+8', 'linaddr-outside', 'linaddr-zero'];
const SOURCE_FIELD: readonly Twist[] = ['source+8', 'source-denied'];
const SECINFO_FIELD: readonly Twist[] = ['secinfo+8', 'secinfo-denied', 'secinfo-reserved', 'secinfo-zero'];
const SLOT: readonly Twist[] = ['rdx+1', 'rdx-far', 'rdx-denied', 'rdx-foreign'];
const LOAD = [
  ...RCX,
  ...PAGEINFO,
  ...SOURCE_FIELD,
  ...SECS_FIELD,
  ...SECS_FIELD,
  ...LINADDR,
  ...SLOT,
] as const;
const MODIFY: readonly Twist[] = [...RCX, 'rbx+8', 'rbx-denied', 'secinfo-reserved'];
const ENCLU: readonly Twist[] = [...RCX, 'rbx+8', 'rbx-far', 'rdx+1', 'rdx-far', 'secinfo-reserved'];

/** The twists that matter to each operation. */
const RELEVANT: Readonly<Partial<Record<Op, readonly Twist[]>>> = Object.freeze({
  ECREATE: [...RCX, ...PAGEINFO, ...SOURCE_FIELD, ...SECINFO_FIELD, 'linaddr+8', 'secs+8'],
  EADD: [...RCX, ...PAGEINFO, ...SOURCE_FIELD, ...SECINFO_FIELD, ...SECS_FIELD, ...LINADDR],
  EEXTEND: [...RCX, 'rbx+8', 'rbx-far'],
  EINIT: ['rbx+8', 'rcx+8', 'rdx+1', 'rbx-denied', 'rcx-far', 'rcx-foreign', 'rdx-denied'],
  EREMOVE: RCX,
  EPA: ['rbx+8', ...RCX],
  EBLOCK: RCX,
  ETRACK: RCX,
  ETRACKC: RCX,
  EWB: [
    ...RCX,
    ...PAGEINFO,
    ...SLOT,
    'rbx-read-only',
    'source+8',
    'source-denied',
    'source-read-only',
    'secinfo+8',
    'secinfo-denied',
    'secinfo-read-only',
    'linaddr+8',
    'secs+8',
  ],
  ELDB: [...LOAD, 'secinfo+8', 'secinfo-denied'],
  ELDU: [...LOAD, 'secinfo+8', 'secinfo-denied'],
  ELDBC: [...LOAD, 'secinfo+8', 'secinfo-denied'],
  ELDUC: [...LOAD, 'secinfo+8', 'secinfo-denied'],
  EAUG: [
    ...RCX,
    ...PAGEINFO,
    ...SECS_FIELD,
    ...LINADDR,
    'source+8',
    'secinfo+8',
    'secinfo-denied',
    'secinfo-here',
  ],
  EMODPR: MODIFY,
  EMODT: MODIFY,
  ERDINFO: ['rbx+8', 'rbx-denied', 'rbx-read-only', ...RCX],
  EDBGRD: ['rcx-far', 'rcx-huge', 'rcx+1'],
  EDBGWR: ['rcx-far', 'rcx-huge', 'rcx+1'],
  EREPORT: ENCLU,
  EGETKEY: ENCLU,
  EACCEPT: ENCLU,
  EACCEPT_RANGE: ENCLU,
  EMODPE: ENCLU,
  EACCEPTCOPY: ENCLU,
});

/** Rows of {@link TWISTS} that matter to an operation. */
export const TWISTS_OF: Readonly<Partial<Record<Op, readonly number[]>>> = Object.freeze(
  Object.fromEntries(
    Object.entries(RELEVANT).map(([op, twists]) => [op, twists.map((twist) => TWISTS.indexOf(twist))]),
  ),
);

/** A step with all arguments 0. */
export function step(op: Op, given: Partial<Arguments> = {}): Step {
  return { op, frame: 0, secs: 0, page: 0, flags: 0, source: 0, va: 0, slot: 0, twist: 0, ...given };
}

/** A step as a line for people. */
export function stepText(s: Step): string {
  const fields = FIELDS[s.op].map((name) => {
    const n = s[name];
    return `${name}=${name === 'flags' ? `0x${n.toString(16)}` : n}`;
  });
  return [s.op, ...fields, ...(s.twist === 0 ? [] : [`[${TWISTS[s.twist]}]`])].join(' ');
}
