/** One line for each record. */
import { describe, sectionOfCheck } from './names.js';
import { isGap, type TraceGap, type TraceRecord } from './record.js';

/** How lines look. */
export interface LineOptions {
  /** Begin with seconds since `from` (a record's `at`), and end with what the leaf took. */
  readonly times?: { readonly from: number };
  /** Begin with the machine's process, where there are several. */
  readonly pid?: number;
}

/** Operands that are numbers of something, not addresses. */
const COUNTS = /^(count|pages|capacity|thread|length)$/;

/** `guest 1, enclave 2: EADD(PAGEINFO=0x…, EPC page=0x…) = ok`. */
export function traceLine(record: TraceRecord | TraceGap, options: LineOptions = {}): string {
  const machine = options.pid === undefined ? '' : `pid ${options.pid} `;
  if (isGap(record)) return `${machine}${record.lost} records lost: the tracer was too slow`;
  const { times } = options;
  const start = times === undefined ? '' : `${((record.at - times.from) / 1e6).toFixed(6)} `;
  const end = times === undefined ? '' : ` <${record.microseconds.toFixed(1)} µs>`;
  return `${machine}${start}${who(record)}: ${record.name}(${operands(record)}) = ${result(record)}${progress(record)}${refusal(record)}${end}`;
}

function who(record: TraceRecord): string {
  if (record.kind === 'enclu') return `enclave ${record.enclave}, thread ${record.thread}`;
  return `guest ${record.owner}${record.enclave === undefined ? '' : `, enclave ${record.enclave}`}`;
}

function operands(record: TraceRecord): string {
  return describe(record.kind, record.name)
    .operands.flatMap((meaning, i) => {
      const value = record.operands[i];
      if (meaning === undefined || value === undefined) return [];
      return `${meaning}=${typeof value === 'number' && !COUNTS.test(meaning) ? `0x${value.toString(16)}` : value}`;
    })
    .join(', ');
}

function result({ result, fault }: TraceRecord): string {
  if (!result.startsWith('#PF') || fault === undefined) return result;
  const address = fault.address === null ? 'not canonical' : `0x${fault.address.toString(16)}`;
  return `#PF(error code 0x${fault.errorCode.toString(16)}, address ${address})`;
}

function progress(record: TraceRecord): string {
  const unit = describe(record.kind, record.name).progress;
  return unit === undefined || record.done === undefined ? '' : `, ${record.done} ${unit} done`;
}

function refusal({ check, requires, deviation }: TraceRecord): string {
  if (check === undefined) return '';
  const section = deviation ? "a check of this platform, not the manual's" : sectionOfCheck(check);
  return `; refused by ${check}: ${requires ?? 'no reason given'}${section === '' ? '' : ` (${section})`}`;
}
