/** What the image builder has to know of an ELF program or shared object. Source: System V ABI and its x86-64 supplement. */
import { libosError } from '../errors.js';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_PHDR = 6;
const PT_GNU_EH_FRAME = 0x6474e550;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_X86_64 = 62;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_RPATH = 15n;
const DT_RUNPATH = 29n;
const MAX_HEADERS = 128;
const MAX_DYNAMIC = 4096;
const MAX_SPAN = 2 ** 31;

/** A loadable segment. */
export interface Segment {
  readonly address: number;
  readonly memorySize: number;
  readonly offset: number;
  readonly fileSize: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly align: number;
}

/** A parsed file. Addresses are as linked. */
export interface Program {
  readonly bytes: Uint8Array;
  /** Linked for one address (ET_EXEC). */
  readonly fixed: boolean;
  readonly entry: number;
  /** Ascending. */
  readonly segments: readonly Segment[];
  readonly interpreter?: string;
  readonly needed: readonly string[];
  readonly searchPath: readonly string[];
  /** Address of the program headers in memory, and their number. */
  readonly headers: number;
  readonly headerCount: number;
  /** Address of .eh_frame_hdr. */
  readonly frames?: number;
}

/** Whether bytes begin as an ELF file does. */
export function isElf(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 64 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46
  );
}

/** Reader of one file with errors that name it. */
class Reader {
  readonly view: DataView;
  constructor(
    readonly bytes: Uint8Array,
    readonly name: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(what: string): never {
    throw libosError('PROGRAM_MALFORMED', `${this.name} ${what}`, {
      advice: 'Give the path of a program for x86-64 Linux.',
    });
  }

  u16(at: number): number {
    return at + 2 <= this.bytes.length ? this.view.getUint16(at, true) : this.fail('is cut short');
  }

  u32(at: number): number {
    return at + 4 <= this.bytes.length ? this.view.getUint32(at, true) : this.fail('is cut short');
  }

  u64(at: number): bigint {
    return at + 8 <= this.bytes.length ? this.view.getBigUint64(at, true) : this.fail('is cut short');
  }

  /** A u64 that is an address or a size. */
  size(at: number): number {
    const value = this.u64(at);
    return value < 2n ** 47n ? Number(value) : this.fail(`has an impossible value at offset ${at}`);
  }

  text(at: number): string {
    const end = this.bytes.indexOf(0, at);
    if (at < 0 || end < 0 || end - at > 4096) this.fail('has a string without an end');
    return Buffer.from(this.bytes.subarray(at, end)).toString('latin1');
  }
}

/** Parses a program or shared object (not copied). @throws PROGRAM_MALFORMED */
export function readProgram(bytes: Uint8Array, name: string): Program {
  const reader = new Reader(bytes, name);
  if (!isElf(bytes) || bytes[4] !== 2 || bytes[5] !== 1) reader.fail('is not a 64-bit ELF file');
  const type = reader.u16(16);
  if (reader.u16(18) !== EM_X86_64) reader.fail('is not for x86-64');
  if (type !== ET_EXEC && type !== ET_DYN) reader.fail('is neither a program nor a shared object');
  const table = reader.size(32);
  const count = reader.u16(56);
  if (reader.u16(54) !== 56 || count === 0 || count > MAX_HEADERS)
    reader.fail('has impossible program headers');

  const segments: Segment[] = [];
  let interpreter: string | undefined;
  let dynamic: { offset: number; size: number } | undefined;
  let headers: number | undefined;
  let frames: number | undefined;
  for (let i = 0; i < count; i++) {
    const at = table + i * 56;
    const kind = reader.u32(at);
    const flags = reader.u32(at + 4);
    const offset = reader.size(at + 8);
    const address = reader.size(at + 16);
    const fileSize = reader.size(at + 32);
    const memorySize = reader.size(at + 40);
    if (kind === PT_INTERP) interpreter = reader.text(offset);
    else if (kind === PT_DYNAMIC) dynamic = { offset, size: fileSize };
    else if (kind === PT_PHDR) headers = address;
    else if (kind === PT_GNU_EH_FRAME) frames = address;
    if (kind !== PT_LOAD || memorySize === 0) continue;
    if (fileSize > memorySize || offset + fileSize > bytes.length || (address - offset) % 4096 !== 0)
      reader.fail(`has an impossible segment ${i}`);
    const previous = segments.at(-1);
    if (previous !== undefined && Math.ceil((previous.address + previous.memorySize) / 4096) * 4096 > address)
      if (Math.floor(address / 4096) * 4096 < previous.address + previous.memorySize)
        reader.fail(`has segments that share a page at 0x${address.toString(16)}`);
    segments.push({
      address,
      memorySize,
      offset,
      fileSize,
      readable: (flags & 4) !== 0,
      writable: (flags & 2) !== 0,
      executable: (flags & 1) !== 0,
      align: Math.max(4096, reader.size(at + 48)),
    });
  }
  const first = segments[0];
  const last = segments.at(-1);
  if (first === undefined || last === undefined) return reader.fail('has nothing to load');
  if (last.address + last.memorySize - first.address > MAX_SPAN) reader.fail('is too large');
  headers ??= first.address + table - first.offset;

  const { needed, searchPath } = dynamicSection(reader, segments, dynamic);
  const entry = reader.size(24);
  return {
    ...{ bytes, fixed: type === ET_EXEC, entry, segments, interpreter, needed, searchPath, headers },
    ...{ headerCount: count, frames },
  };
}

function dynamicSection(
  reader: Reader,
  segments: readonly Segment[],
  section: { offset: number; size: number } | undefined,
): { needed: string[]; searchPath: string[] } {
  const needed: bigint[] = [];
  const paths: bigint[] = [];
  let strings: bigint | undefined;
  const entries = section === undefined ? 0 : Math.min(MAX_DYNAMIC, Math.floor(section.size / 16));
  for (let i = 0; i < entries; i++) {
    const at = section!.offset + i * 16;
    const tag = reader.u64(at);
    const value = reader.u64(at + 8);
    if (tag === 0n) break;
    if (tag === DT_NEEDED) needed.push(value);
    else if (tag === DT_STRTAB) strings = value;
    else if (tag === DT_RPATH || tag === DT_RUNPATH) paths.push(value);
  }
  if (strings === undefined) return { needed: [], searchPath: [] };
  const table = fileOffset(segments, Number(strings));
  if (table === undefined) return reader.fail('has its string table outside of its segments');
  const text = (value: bigint) => reader.text(table + Number(value));
  return { needed: needed.map(text), searchPath: paths.flatMap((value) => text(value).split(':')) };
}

/** Where in the file the byte at an address is, if it is there. */
export function fileOffset(segments: readonly Segment[], address: number): number | undefined {
  const segment = segments.find((s) => address >= s.address && address < s.address + s.fileSize);
  return segment === undefined ? undefined : segment.offset + address - segment.address;
}
