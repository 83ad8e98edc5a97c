/**
 * Where heap, threads and other ranges of an enclave lie. Source: Intel SGX SDK for Linux 2.26,
 * sdk/sign_tool/SignTool/manage_metadata.cpp and metadata.h.
 */
import { ATTRIBUTES_AEX_NOTIFY, type Attributes, NsgxError } from '@nestedsgx/arch';
import { hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import type { EnclaveConfig } from './config.js';
import { type LoaderKinds, loaderKinds, poolThreads } from './config-checks.js';
import { userRegion } from './edmm-overhead.js';
import { MAX_LAYOUT_RANGES } from './limits.js';
import type { LayoutRow } from './metadata.js';
import {
  GROUP_FLAG,
  LAYOUT_ID,
  type LayoutEntry,
  PAGE_ATTR_DYN_THREAD,
  PAGE_ATTR_EADD,
  PAGE_ATTR_EEXTEND,
  PAGE_ATTR_EREMOVE,
  PAGE_ATTR_POST_ADD,
  PAGE_ATTR_POST_REMOVE,
  PAGE_DIR_GROW_DOWN,
  SI_FLAG_REG,
  SI_FLAGS_TCS,
  TCS_TEMPLATE,
} from './metadata-format.js';
import type { UnsignedSo } from './unsigned-so.js';
import type { ProcessorState } from './xsave.js';

const RW = BigInt(SI_FLAG_REG | 3);
const RWX = BigInt(SI_FLAG_REG | 7);
/** Guards between ranges: 64 KiB. */
const GUARD_PAGES = 16;
const SSA_FRAMES = 2;
/** What unused stack is filled with. */
const STACK_FILL = 0xcccc_cccc;
/** From a static layout id to that of the same range in a thread that is made at run time. */
const TO_DYNAMIC = 10;
const TCS_FLAG_AEXNOTIFY = 2n;
/** Threads whose ranges a loader of this project takes: eight each, and a few others. */
const MAX_THREADS = Math.floor(MAX_LAYOUT_RANGES / 8) - 2;
const MEASURED = PAGE_ATTR_EADD | PAGE_ATTR_EEXTEND;
/** Added at once, taken away when the runtime starts, added again on demand. */
const ON_DEMAND = PAGE_ATTR_EADD | PAGE_ATTR_POST_REMOVE | PAGE_ATTR_POST_ADD;

/** The planned ranges. */
export interface LayoutPlan {
  /** Rows of the layout table for loaders with EDMM, which all others derive from. */
  readonly rows: readonly LayoutRow[];
  readonly enclaveSize: bigint;
  readonly tcsTemplate: Uint8Array;
  /** global_data_t.edmm_bk_overhead. */
  readonly bookkeeping: bigint;
  readonly loaders: LoaderKinds;
  readonly state: ProcessorState;
}

/** The first entry with a layout id. */
export function firstEntry(rows: readonly LayoutRow[], id: number): LayoutEntry | undefined {
  for (const row of rows) if ('entry' in row && row.entry.id === id) return row.entry;
  return undefined;
}

/**
 * Plans an enclave's ranges behind its segments. `tcsOffset` is where the metadata block has the template of a TCS.
 * Throws IMAGE_TOO_LARGE (limits), IMAGE_ELF (no segment), SIGN_CONFIG_ELEMENT (ELRangeSize).
 */
export function planLayout(
  so: UnsignedSo,
  config: EnclaveConfig,
  attributes: Attributes,
  state: ProcessorState,
  tcsOffset: number,
  maxEnclaveBytes: number,
): LayoutPlan {
  const { values } = config;
  const loaders = loaderKinds(config);
  checkSums(values, maxEnclaveBytes);
  const threadPages = 1 + Math.ceil(so.tlsBytes / PAGE);
  const thread = threadRows(values, state.ssaFrameSize * SSA_FRAMES, threadPages, tcsOffset);
  const rows: LayoutRow[] = [...heapRows(values), ...allThreads(values, thread), ...reservedRows(values)];
  let bookkeeping = 0n;
  if (loaders.sgx2) {
    const user = userRegion(values, so.elf.segments, state.ssaFrameSize * SSA_FRAMES, threadPages);
    bookkeeping = user.bookkeeping;
    rows.push(range(LAYOUT_ID.USER_REGION, PAGE_ATTR_POST_ADD, user.size, RW));
  }
  const end = assignAddresses(rows, imageEnd(so));
  let enclaveSize = 1n;
  while (enclaveSize < end) enclaveSize *= 2n;
  if (enclaveSize > BigInt(maxEnclaveBytes))
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the enclave would have 0x${enclaveSize.toString(16)} bytes, more than ${hex(maxEnclaveBytes)}`,
      { advice: 'Lower HeapMaxSize, StackMaxSize, TCSMaxNum or the other sizes in Enclave.config.xml.' },
    );
  if (enclaveSize > end) {
    const rest = range(LAYOUT_ID.GUARD, 0, enclaveSize - end, 0n);
    rows.push({ entry: { ...rest.entry, rva: end } });
  }
  checkElrange(values, enclaveSize);
  const tcsTemplate = templateOf(so, values, attributes, rows);
  return { rows, enclaveSize, tcsTemplate, bookkeeping, loaders, state };
}

interface EntryRow {
  readonly entry: LayoutEntry;
}

function range(id: number, attributes: number, size: bigint, si_flags: bigint, content = [0, 0]): EntryRow {
  const page_count = Number(size / BigInt(PAGE));
  const [content_size, content_offset] = content;
  return { entry: { id, attributes, page_count, rva: 0n, content_size, content_offset, si_flags } };
}

function heapRows({ HeapMinSize, HeapInitSize, HeapMaxSize }: EnclaveConfig['values']): EntryRow[] {
  const rows = [range(LAYOUT_ID.HEAP_MIN, PAGE_ATTR_EADD, HeapMinSize, RW)];
  if (HeapInitSize > HeapMinSize)
    rows.push(range(LAYOUT_ID.HEAP_INIT, ON_DEMAND, HeapInitSize - HeapMinSize, RW));
  if (HeapMaxSize > HeapInitSize)
    rows.push(range(LAYOUT_ID.HEAP_MAX, PAGE_ATTR_POST_ADD, HeapMaxSize - HeapInitSize, RW));
  return rows;
}

function reservedRows(values: EnclaveConfig['values']): EntryRow[] {
  const { ReservedMemMinSize: min, ReservedMemInitSize: init, ReservedMemMaxSize: max } = values;
  if (max === 0n) return [];
  const flags = values.ReservedMemExecutable === 1n ? RWX : RW;
  const rows = [range(LAYOUT_ID.RSRV_MIN, PAGE_ATTR_EADD, min, flags)];
  if (init > min) rows.push(range(LAYOUT_ID.RSRV_INIT, ON_DEMAND, init - min, flags));
  if (max > init) rows.push(range(LAYOUT_ID.RSRV_MAX, PAGE_ATTR_POST_ADD, max - init, RW));
  return rows;
}

/** One thread: guard, stack, guard, TCS, SSA, guard, TD with thread-local storage before it. */
function threadRows(
  values: EnclaveConfig['values'],
  ssaPages: number,
  threadPages: number,
  tcsOffset: number,
): EntryRow[] {
  const { StackMinSize: min, StackMaxSize: max } = values;
  const guard = range(LAYOUT_ID.GUARD, 0, BigInt(GUARD_PAGES * PAGE), 0n);
  const pages = (n: number): bigint => BigInt(n * PAGE);
  const growing = MEASURED | PAGE_DIR_GROW_DOWN;
  return [
    guard,
    ...(max > min ? [range(LAYOUT_ID.STACK_MAX, growing, max - min, RW, [STACK_FILL, 0])] : []),
    range(LAYOUT_ID.STACK_MIN, MEASURED, min, RW, [STACK_FILL, 0]),
    guard,
    range(LAYOUT_ID.TCS, MEASURED, pages(1), BigInt(SI_FLAGS_TCS), [TCS_TEMPLATE.size, tcsOffset]),
    range(LAYOUT_ID.SSA, MEASURED, pages(ssaPages), RW),
    guard,
    range(LAYOUT_ID.TD, MEASURED, pages(threadPages), RW),
  ];
}

/** The first thread (which changes pages for others), those kept, those taken away by EDMM loaders, those made later. */
function allThreads(values: EnclaveConfig['values'], thread: readonly EntryRow[]): LayoutRow[] {
  const pool = Number(poolThreads(values));
  const taken = Number(values.TCSNum) - 1 - pool;
  const later = Number(values.TCSMaxNum) - 1 - pool;
  const changed = (change: (entry: LayoutEntry) => Partial<LayoutEntry>): EntryRow[] =>
    thread.map(({ entry }) => ({ entry: { ...entry, ...change(entry) } }));
  const group = (id: number, load_times: number): LayoutRow => ({
    group: { id: GROUP_FLAG | id, entry_count: thread.length, load_times, load_step: 0n },
  });
  const rows: LayoutRow[] = changed(({ id, attributes }) =>
    id === LAYOUT_ID.STACK_MAX ? { attributes: attributes | PAGE_ATTR_POST_ADD | PAGE_ATTR_POST_REMOVE } : {},
  );
  if (pool > 0) rows.push(...thread);
  if (pool > 1) rows.push(group(LAYOUT_ID.THREAD_GROUP, pool - 1));
  if (taken > 0)
    rows.push(
      ...changed(({ id, attributes }) =>
        id === LAYOUT_ID.GUARD ? {} : { attributes: attributes | PAGE_ATTR_EREMOVE },
      ),
    );
  if (taken > 1) rows.push(group(LAYOUT_ID.THREAD_GROUP, taken - 1));
  if (later > 0) {
    rows.push(
      ...changed(({ id }) => {
        if (id === LAYOUT_ID.GUARD) return {};
        const how = id === LAYOUT_ID.STACK_MAX ? PAGE_DIR_GROW_DOWN : PAGE_ATTR_DYN_THREAD;
        return { id: id + TO_DYNAMIC, attributes: PAGE_ATTR_POST_ADD | how };
      }),
      group(LAYOUT_ID.THREAD_GROUP_DYN, later),
    );
  }
  return rows;
}

/** Gives rows their addresses from `start` on; returns where they end. */
function assignAddresses(rows: LayoutRow[], start: bigint): bigint {
  let rva = start;
  rows.forEach((row, i) => {
    if ('entry' in row) {
      rows[i] = { entry: { ...row.entry, rva } };
      rva += BigInt(row.entry.page_count) * BigInt(PAGE);
      return;
    }
    const load_step = stepOf(rows.slice(i - row.group.entry_count, i));
    rows[i] = { group: { ...row.group, load_step } };
    rva += load_step * BigInt(row.group.load_times);
  });
  return rva;
}

/** Bytes that rows of entries cover. */
export function stepOf(rows: readonly LayoutRow[]): bigint {
  return rows.reduce((sum, row) => sum + BigInt('entry' in row ? row.entry.page_count * PAGE : 0), 0n);
}

/** Where the segment with the highest address ends, in whole pages. */
function imageEnd(so: UnsignedSo): bigint {
  const last = so.elf.segments.reduce((a, b) => (b.rva > a.rva ? b : a));
  return BigInt(Math.ceil((last.rva + last.memorySize) / PAGE) * PAGE);
}

function checkSums(values: EnclaveConfig['values'], most: number): void {
  if (values.TCSMaxNum > MAX_THREADS)
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `TCSMaxNum is ${values.TCSMaxNum}, more than ${MAX_THREADS} threads`,
      {
        advice: 'Lower TCSMaxNum or TCSNum in Enclave.config.xml.',
      },
    );
  const threads = values.TCSMaxNum * values.StackMaxSize;
  const sum = values.HeapMaxSize + values.ReservedMemMaxSize + values.UserRegionSize + threads;
  if (sum > BigInt(most))
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `heap (HeapMaxSize), reserved memory (ReservedMemMaxSize), user region (UserRegionSize) and stacks (TCSMaxNum × StackMaxSize) take 0x${sum.toString(16)} bytes, more than ${hex(most)}`,
      { advice: 'Lower these sizes in Enclave.config.xml.' },
    );
}

function checkElrange(values: EnclaveConfig['values'], enclaveSize: bigint): void {
  const { ELRangeSize: size, ELRangeStartAddress: start, EnclaveImageAddress: image } = values;
  if (size === 0n || image + enclaveSize <= start + size) return;
  throw new NsgxError(
    'SIGN_CONFIG_ELEMENT',
    `ELRangeSize is 0x${size.toString(16)}: the enclave of 0x${enclaveSize.toString(16)} bytes at EnclaveImageAddress 0x${image.toString(16)} ends after it`,
    { advice: 'Correct Enclave.config.xml.' },
  );
}

function templateOf(
  so: UnsignedSo,
  values: EnclaveConfig['values'],
  attributes: Attributes,
  rows: readonly LayoutRow[],
): Uint8Array {
  const shift = values.ELRangeSize === 0n ? 0n : values.EnclaveImageAddress - values.ELRangeStartAddress;
  const [tcs, ssa, td] = [LAYOUT_ID.TCS, LAYOUT_ID.SSA, LAYOUT_ID.TD].map((id) => firstEntry(rows, id)!);
  const threadData = td.rva - tcs.rva + BigInt((td.page_count - 1) * PAGE) + shift;
  return TCS_TEMPLATE.encode({
    flags: (attributes.FLAGS & ATTRIBUTES_AEX_NOTIFY) === 0n ? 0n : TCS_FLAG_AEXNOTIFY,
    ossa: ssa.rva - tcs.rva + shift,
    nssa: SSA_FRAMES,
    oentry: so.entry + shift,
    ofs_base: threadData,
    ogs_base: threadData,
    ofs_limit: 0xffff_ffff,
    ogs_limit: 0xffff_ffff,
  });
}
