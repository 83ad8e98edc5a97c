/**
 * Finds the SYSCALL instructions of a program that can be replaced by a jump, by decoding the functions they are in.
 *
 * A jump takes five bytes, SYSCALL has two. So either the instruction before it gives way (most often `mov $nr,%eax`),
 * which is always safe if it has at least five bytes: a jump to the SYSCALL itself still finds it, and traps. Or those
 * behind it do (`cmp $-4096,%rax`), which is safe where nothing in the function jumps to what gave way. All else is left
 * alone, traps, and works.
 */
import { Decoder, DecoderOptions, FlowControl, type Instruction } from 'iced-x86';
import { functionStarts } from '../elf/functions.js';
import type { Program, Segment } from '../elf/program.js';

const JUMP_BYTES = 5;
const SYSCALL_BYTES = 2;
/** Functions longer than this are not decoded. */
const MAX_FUNCTION = 1 << 20;

/** A place where five bytes become a jump. Addresses are as linked. */
export interface Site {
  /** Where the jump goes. */
  readonly at: number;
  /** Bytes that are carried out elsewhere, before the call and after it. */
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** Where the program goes on. */
  readonly next: number;
}

/** What was found in a program. */
export interface SiteScan {
  readonly sites: readonly Site[];
  /** SYSCALL instructions that stay as they are: their addresses. */
  readonly trapping: readonly number[];
}

interface Decoded {
  readonly at: number;
  readonly length: number;
  /** Whether it does the same wherever it stands. */
  readonly movable: boolean;
  readonly syscall: boolean;
}

/** Finds the sites of all executable segments. */
export function findSites(program: Program): SiteScan {
  const starts = functionStarts(program);
  const sites: Site[] = [];
  const trapping: number[] = [];
  for (const segment of program.segments) {
    if (!segment.executable) continue;
    const text = program.bytes.subarray(segment.offset, segment.offset + segment.fileSize);
    let decodedTo = -1;
    for (let at = text.indexOf(0x0f); at >= 0 && at + 1 < text.length; at = text.indexOf(0x0f, at + 1)) {
      if (text[at + 1] !== 0x05) continue;
      const address = segment.address + at;
      if (address < decodedTo) continue;
      const range = functionAround(starts, address, segment);
      if (range === null) {
        trapping.push(address);
        continue;
      }
      decodedTo = range.end;
      scanFunction(text, segment, range, sites, trapping);
    }
  }
  return { sites, trapping };
}

function functionAround(
  starts: readonly number[],
  address: number,
  segment: Segment,
): { start: number; end: number } | null {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= address) low = middle + 1;
    else high = middle;
  }
  const start = starts[low - 1];
  if (start === undefined || start < segment.address) return null;
  const end = Math.min(starts[low] ?? Number.POSITIVE_INFINITY, segment.address + segment.fileSize);
  return end - start > MAX_FUNCTION ? null : { start, end };
}

function scanFunction(
  text: Uint8Array,
  segment: Segment,
  range: { start: number; end: number },
  sites: Site[],
  trapping: number[],
): void {
  const { list, targets, computed } = decode(text, segment, range);
  for (let i = 0; i < list.length; i++) {
    const call = list[i];
    if (!call.syscall) continue;
    const previous = list[i - 1];
    const bytes = (from: number, to: number) => text.slice(from - segment.address, to - segment.address);
    const next = call.at + SYSCALL_BYTES;
    if (previous?.movable && previous.length >= JUMP_BYTES) {
      sites.push({ at: previous.at, before: bytes(previous.at, call.at), after: new Uint8Array(0), next });
      continue;
    }
    let end = next;
    let safe = !computed;
    for (let k = i + 1; end - call.at < JUMP_BYTES && safe; k++) {
      const following = list[k];
      safe = following?.movable && !following.syscall && !targets.has(following.at);
      if (safe) end = following.at + following.length;
    }
    if (safe) sites.push({ at: call.at, before: new Uint8Array(0), after: bytes(next, end), next: end });
    else trapping.push(call.at);
  }
}

/** One pass over a function: its instructions, where its jumps go, and whether one goes where a register says. */
function decode(text: Uint8Array, segment: Segment, range: { start: number; end: number }) {
  const list: Decoded[] = [];
  const targets = new Set<number>();
  let computed = false;
  const code = text.subarray(range.start - segment.address, range.end - segment.address);
  const decoder = new Decoder(64, code, DecoderOptions.None);
  decoder.ip = BigInt(range.start);
  const instruction: Instruction = decoder.decode();
  for (let at = range.start; ; ) {
    const { length, flowControl } = instruction;
    if (instruction.isInvalid || length === 0) break;
    const offset = at - segment.address;
    const syscall = length === SYSCALL_BYTES && text[offset] === 0x0f && text[offset + 1] === 0x05;
    const plain = flowControl === FlowControl.Next;
    if (flowControl === FlowControl.IndirectBranch) computed = true;
    if (flowControl === FlowControl.ConditionalBranch || flowControl === FlowControl.UnconditionalBranch)
      targets.add(Number(instruction.nearBranchTarget));
    list.push({ at, length, syscall, movable: plain && !syscall && !instruction.isIpRelMemoryOperand });
    at += length;
    if (!decoder.canDecode || at >= range.end) break;
    decoder.decodeOut(instruction);
  }
  instruction.free();
  decoder.free();
  return { list, targets, computed };
}
