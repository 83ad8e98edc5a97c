/**
 * Memory that the trusted runtime needs to keep account of its ranges when they change at run time. Source: Intel SGX
 * SDK for Linux 2.26, sdk/sign_tool/SignTool/manage_metadata.cpp; sizes of the account's nodes from sgx-emm.
 */
import { PAGE } from '../sgxs/format.js';
import type { EnclaveConfig } from './config.js';
import { poolThreads } from './config-checks.js';
import type { ElfSegment } from './elf.js';

/** Bytes of a node of the account, and of a bit array. */
const NODE = allocated(72);
const BIT_ARRAY = allocated(24);
/** The reserve in which the account lives: its step, its own header, a guard on either side. */
const RESERVE_STEP = 0x1_0000;
const RESERVE_HEADER = 32;
const RESERVE_GUARD = 0x8000;
/** One byte of account covers so many bytes of the user's region. */
const COVERED = 0x8000n;

/** What a request takes of the runtime's small allocator. */
function allocated(bytes: number): number {
  return Math.max(16, roundUp(bytes + 8, 8));
}

function roundUp(n: number, step: number): number {
  return Math.ceil(n / step) * step;
}

/** A node with a bit for each page. */
function tracked(pages: number): number {
  return NODE + BIT_ARRAY + allocated(roundUp(pages, 8) / 8);
}

function pagesOf(bytes: bigint): number {
  return Number(bytes / BigInt(PAGE));
}

/** The ranges of MIN, INIT and MAX as they differ. */
function region(min: bigint, init: bigint, max: bigint): number {
  let sum = tracked(pagesOf(min));
  if (init > min) sum += tracked(pagesOf(init - min));
  if (max > init) sum += tracked(pagesOf(max - init));
  return sum;
}

/** Bytes for the ranges that the runtime itself lays out. */
function runtimeRanges(
  values: EnclaveConfig['values'],
  segments: readonly ElfSegment[],
  ssaPages: number,
  threadDataPages: number,
): number {
  const grows = values.StackMaxSize > values.StackMinSize;
  // Three guards; stack, TCS, SSA and TD.
  const kept =
    3 * NODE +
    tracked(pagesOf(values.StackMinSize)) +
    (grows ? tracked(pagesOf(values.StackMaxSize - values.StackMinSize)) : 0) +
    tracked(1) +
    tracked(ssaPages) +
    tracked(threadDataPages);
  const removed = (grows ? 8 : 7) * NODE;
  const pool = Number(poolThreads(values));
  const taken = Number(values.TCSNum) - 1 - pool;
  const later = Number(values.TCSMaxNum);
  const threads = (1 + pool + (later > pool + 1 ? later - pool : 0)) * kept + (1 + taken) * removed;
  const image = segments.reduce((sum, { memorySize }) => sum + tracked(roundUp(memorySize, PAGE) / PAGE), 0);
  return (
    region(values.HeapMinSize, values.HeapInitSize, values.HeapMaxSize) +
    region(values.ReservedMemMinSize, values.ReservedMemInitSize, values.ReservedMemMaxSize) +
    threads +
    image +
    NODE
  );
}

/** Bytes kept for the account, and of the region that follows the other ranges: account, guards, the user's part. */
export function userRegion(
  values: EnclaveConfig['values'],
  segments: readonly ElfSegment[],
  ssaPages: number,
  threadDataPages: number,
): { readonly bookkeeping: bigint; readonly size: bigint } {
  const user = values.UserRegionSize;
  const covering = user === 0n ? 0 : Math.max(PAGE, roundUp(Number(user / COVERED), PAGE));
  const needed = covering + runtimeRanges(values, segments, ssaPages, threadDataPages) + RESERVE_HEADER;
  const bookkeeping = BigInt(roundUp(needed, RESERVE_STEP));
  return { bookkeeping, size: user + bookkeeping + BigInt(2 * RESERVE_GUARD) };
}
