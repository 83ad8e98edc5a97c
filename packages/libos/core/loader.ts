/**
 * Brings a program and its interpreter into memory, as execve does. Source: System V ABI and its x86-64 supplement. The file is the
 * root's, which is measured, or the program's own, which is not and therefore is not executed.
 */
import { EACCES, ENOENT, ENOEXEC, ENOMEM } from './errno';
import { Inode } from './fs/inode';
import { root, walk, walkFailure } from './fs/path';
import { Space } from './memory/space';
import { freeSpace, isMeasured, putCode, take } from './memory/take';
import { executable, zero } from './shim';
import { bytesToString } from './user';

const PAGE: u64 = 4096;
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const MAX_HEADERS: u32 = 32;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PF_W: u32 = 2;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const MAX_SPAN: u64 = 0x4000_0000;

/** What exec needs to know of a program in memory. */
export class Loaded {
  entry: u64 = 0;
  programEntry: u64 = 0;
  headers: u64 = 0;
  headerCount: u64 = 0;
  interpreter: u64 = 0;
  /** It runs where the image has it, and nowhere else (task/fixed.ts). */
  fixed: Inode | null = null;
}

/** Headers of the file that is read. */
const headers: usize = memory.data(<i32>(64 + 32 * 56), 8);
let interpreterPath: string = '';
let span: u64 = 0;
let lowest: u64 = 0;
let headersAt: u64 = 0;

@inline function down(at: u64): u64 {
  return at & ~(PAGE - 1);
}

@inline function up(at: u64): u64 {
  return (at + PAGE - 1) & ~(PAGE - 1);
}

@inline function header(i: u32): usize {
  return headers + 64 + <usize>i * 56;
}

/** Reads and checks the headers: PENDING, an errno, or 0. */
function readHeaders(inode: Inode): i64 {
  if (!inode.isFile || inode.size < HEADER) return ENOEXEC;
  const first = inode.need(0, HEADER);
  if (first !== 0) return first;
  inode.copyTo(headers, 0, HEADER);
  if (load<u32>(headers) !== 0x464c457f || load<u8>(headers, 4) !== 2 || load<u8>(headers, 5) !== 1) return ENOEXEC;
  const type = load<u16>(headers, 16);
  if ((type !== ET_DYN && type !== ET_EXEC) || load<u16>(headers, 18) !== EM_X86_64) return ENOEXEC;
  const table = load<u64>(headers, 32);
  const count = <u32>load<u16>(headers, 56);
  if (load<u16>(headers, 54) !== 56 || count === 0 || count > MAX_HEADERS) return ENOEXEC;
  const bytes = <u64>count * PROGRAM_HEADER;
  if (table > inode.size || bytes > inode.size - table) return ENOEXEC;
  const second = inode.need(table, bytes);
  if (second !== 0) return second;
  inode.copyTo(headers + 64, table, bytes);
  const wrong = checkSegments(inode, count, table);
  return wrong === 0 && isFixed() && inode.imageAt !== lowest ? ENOEXEC : wrong;
}

/** Whether the file whose headers are read is linked for one address. */
function isFixed(): bool {
  return load<u16>(headers, 16) === ET_EXEC;
}

function checkSegments(inode: Inode, count: u32, table: u64): i64 {
  lowest = u64.MAX_VALUE;
  let highest: u64 = 0;
  headersAt = 0;
  interpreterPath = '';
  for (let i: u32 = 0; i < count; i++) {
    const at = header(i);
    const kind = load<u32>(at);
    const offset = load<u64>(at, 8);
    const address = load<u64>(at, 16);
    const fileSize = load<u64>(at, 32);
    const memorySize = load<u64>(at, 40);
    if (kind === PT_PHDR) headersAt = address;
    if (kind === PT_INTERP) {
      if (fileSize < 2 || fileSize > PAGE || offset > inode.size || fileSize > inode.size - offset) return ENOEXEC;
      const waiting = inode.need(offset, fileSize);
      if (waiting !== 0) return waiting;
      const text = heap.alloc(<usize>fileSize);
      inode.copyTo(text, offset, fileSize);
      interpreterPath = bytesToString(text, <i32>fileSize - 1);
      heap.free(text);
    }
    if (kind !== PT_LOAD || memorySize === 0) continue;
    if (fileSize > memorySize || offset > inode.size || fileSize > inode.size - offset) return ENOEXEC;
    if (address > MAX_SPAN || memorySize > MAX_SPAN || ((address - offset) & (PAGE - 1)) !== 0) return ENOEXEC;
    lowest = min(lowest, down(address));
    highest = max(highest, up(address + memorySize));
    if (headersAt === 0 && table >= offset && table < offset + fileSize) headersAt = address + table - offset;
  }
  span = highest - lowest;
  return highest === 0 || span > MAX_SPAN ? ENOEXEC : 0;
}

/** Brings all bytes that the segments need from outside: of what lies in place those that are written anew. */
function fetch(inode: Inode): i64 {
  if (!isFixed()) return inode.need(0, inode.size + inode.codeBytes);
  for (let i: u32 = 0; i < <u32>load<u16>(headers, 56); i++) {
    const at = header(i);
    if (load<u32>(at) !== PT_LOAD || (load<u32>(at, 4) & PF_W) === 0) continue;
    const lead = min(load<u64>(at, 16) & (PAGE - 1), load<u64>(at, 8));
    const waiting = inode.need(load<u64>(at, 8) - lead, load<u64>(at, 32) + lead);
    if (waiting !== 0) return waiting;
  }
  return 0;
}

/**
 * Writes what a program in place begins with to where it may write, or one such part behind the other from an address on.
 * The bytes are there.
 */
export function putWritable(inode: Inode, to: u64): void {
  if (readHeaders(inode) !== 0) unreachable();
  for (let i: u32 = 0; i < <u32>load<u16>(headers, 56); i++) {
    const head = header(i);
    if (load<u32>(head) !== PT_LOAD || (load<u32>(head, 4) & PF_W) === 0) continue;
    const address = load<u64>(head, 16);
    const lead = min(address & (PAGE - 1), load<u64>(head, 8));
    const start = down(address);
    const length = up(address + load<u64>(head, 40)) - start;
    const at = to === 0 ? start : to;
    if (!zero(at, length) || !inode.copyOut(at + (address - start) - lead, load<u64>(head, 8) - lead, load<u64>(head, 32) + lead)) unreachable();
    if (to !== 0) to += length;
  }
}

/** Places the segments of the file whose headers are read; what is to be added to its addresses, or 0. */
function placeSegments(inode: Inode, space: Space): u64 {
  const behind = <u64>inode.codePages * PAGE === span ? up(inode.codeBytes) : 0;
  const at = take(span + behind, space);
  if (at === 0) return 0;
  const bias = at - lowest;
  const count = <u32>load<u16>(headers, 56);
  for (let i: u32 = 0; i < count; i++) {
    const head = header(i);
    if (load<u32>(head) !== PT_LOAD) continue;
    const offset = load<u64>(head, 8);
    const address = load<u64>(head, 16);
    // What stands before the segment in its first page of the file is mapped with it.
    const lead = min(address & (PAGE - 1), offset);
    if (!inode.copyOut(bias + address - lead, offset - lead, load<u64>(head, 32) + lead)) return 0;
    const start = down(bias + address);
    if ((load<u32>(head, 4) & 1) !== 0 && !executable(start, up(bias + address + load<u64>(head, 40)) - start)) return 0;
  }
  return behind === 0 || putCode(at + span, behind, inode, space) ? bias : 0;
}

/**
 * Loads a program for a space, and its interpreter. PENDING (the call is to be made again), an errno, or 0 with `into` filled.
 */
export function loadProgram(inode: Inode, space: Space, into: Loaded): i64 {
  if (!isMeasured(inode)) return EACCES;
  const wrong = readHeaders(inode);
  if (wrong !== 0) return wrong;
  const waiting = fetch(inode);
  if (waiting !== 0) return waiting;
  let interpreter: Inode | null = null;
  if (interpreterPath.length > 0) {
    interpreter = walk(interpreterPath, root, true);
    if (interpreter === null) return walkFailure;
    if (!isMeasured(interpreter)) return EACCES;
    const bad = readHeaders(interpreter);
    if (bad !== 0) return bad;
    if (isFixed()) return ENOEXEC;
    const later = fetch(interpreter);
    if (later !== 0) return later;
  }
  // Everything is here: nothing waits any more.
  readHeaders(inode);
  into.fixed = isFixed() ? inode : null;
  const bias = into.fixed !== null ? 0 : placeSegments(inode, space);
  if (bias === 0 && into.fixed === null) return failed(space);
  into.programEntry = into.entry = bias + load<u64>(headers, 24);
  into.headers = bias + headersAt;
  into.headerCount = load<u16>(headers, 56);
  into.interpreter = 0;
  if (interpreter === null) return 0;
  readHeaders(interpreter);
  const other = placeSegments(interpreter, space);
  if (other === 0) return failed(space);
  into.interpreter = other + lowest;
  into.entry = other + load<u64>(headers, 24);
  return 0;
}

function failed(space: Space): i64 {
  freeSpace(space);
  return ENOMEM;
}

/** A stack for a space: its top, or 0. */
export function newStack(space: Space, bytes: u64): u64 {
  const at = take(bytes + PAGE, space);
  if (at === 0) return 0;
  space.stackStart = at;
  space.stackEnd = at + bytes + PAGE;
  return space.stackEnd;
}

