/** What programs write to of the binaries that lie in place: their headers say it, and are measured with them. */
import { Inode } from './fs/inode';
import { copyIn } from './shim';

const PAGE: u64 = 4096;
const ET_EXEC: u16 = 2;
const PT_LOAD: u32 = 1;
const WRITABLE: u32 = 2;
const PROGRAM_HEADER: u64 = 56;
const MAX_HEADERS: u32 = 32;

const header: usize = memory.data(64, 8);
const entries: usize = memory.data(56 * 32, 8);
const known = new Map<u64, Array<u64>>();

/** Whether an image is a program that is linked for its address. */
export function isFixed(image: Inode): bool {
  return copyIn(header, image.imageAt, 64) && load<u32>(header) === 0x464c457f && load<u16>(header, 16) === ET_EXEC;
}

/** Start and end of each part, in pages. */
export function writableParts(image: Inode): Array<u64> {
  if (known.has(image.imageAt)) return known.get(image.imageAt);
  const parts = find(image);
  known.set(image.imageAt, parts);
  return parts;
}

function find(image: Inode): Array<u64> {
  const parts = new Array<u64>();
  const base = image.imageAt;
  if (!copyIn(header, base, 64) || load<u32>(header) !== 0x464c457f) return parts;
  const count = <u32>load<u16>(header, 56);
  if (count > MAX_HEADERS || !copyIn(entries, base + load<u64>(header, 32), <u64>count * PROGRAM_HEADER)) return parts;
  let lowest = u64.MAX_VALUE;
  for (let i: u32 = 0; i < count; i++) {
    const at = entries + <usize>i * <usize>PROGRAM_HEADER;
    if (load<u32>(at) === PT_LOAD) lowest = min(lowest, load<u64>(at, 16) & ~(PAGE - 1));
  }
  for (let i: u32 = 0; i < count; i++) {
    const at = entries + <usize>i * <usize>PROGRAM_HEADER;
    if (load<u32>(at) !== PT_LOAD || (load<u32>(at, 4) & WRITABLE) === 0) continue;
    const start = base - lowest + load<u64>(at, 16);
    parts.push(start & ~(PAGE - 1));
    parts.push((start + load<u64>(at, 40) + PAGE - 1) & ~(PAGE - 1));
  }
  return parts;
}
