/** `.signed.so` files for the tests: an ELF assembler, thread layouts as the SDK's signing tool makes them. */
import { type LayoutRowInit, type MetadataInit, writeMetadata, writeMetadataSection } from '../src/index.js';
import { noise } from './samples.js';

const PAGE = 4096;
/** Where the sample's second segment lies: not page-aligned, with .bss behind it. */
export const DATA_RVA = 0x4e10;
export const DATA_FILE = 0x2e10;
/** The unaligned place in the first segment that patches fill (`g_global_data`). */
export const GLOBAL_DATA = 0x1f00;

/** Choices of the ELF file. */
export interface ElfInit {
  textrel?: boolean;
  /** r_offset of relocations of type R_X86_64_RELATIVE; a NONE follows at page 0. */
  relocations?: readonly number[];
  bss?: number;
}

/** An ELF shared object with two PT_LOADs, a dynamic section and `.note.sgxmeta` with these contents. */
export function buildElf(note: Uint8Array, init: ElfInit = {}): Buffer {
  const codeSize = 0x2800;
  const dataSize = 0x1400;
  const noteAt = DATA_FILE + dataSize + 5;
  const stringsAt = noteAt + note.length;
  const strings = Buffer.from('\0.note.sgxmeta\0.shstrtab\0', 'latin1');
  const sectionsAt = stringsAt + strings.length;
  const out = Buffer.alloc(sectionsAt + 3 * 64);
  Buffer.from(noise(codeSize, 11)).copy(out, 0);
  Buffer.from(noise(dataSize, 12)).copy(out, DATA_FILE);
  out.fill(0, 0, 64);
  out.write('\x7fELF\x02\x01\x01', 'latin1');
  out.writeUInt16LE(3, 16);
  out.writeUInt16LE(62, 18);
  out.writeUInt32LE(1, 20);
  out.writeBigUInt64LE(0x1000n, 24);
  out.writeBigUInt64LE(64n, 32);
  out.writeBigUInt64LE(BigInt(sectionsAt), 40);
  [64, 56, 3, 64, 3, 2].forEach((v, i) => {
    out.writeUInt16LE(v, 52 + 2 * i);
  });
  const program = (i: number, type: number, flags: number, fields: number[]): void => {
    const at = 64 + 56 * i;
    out.writeUInt32LE(type, at);
    out.writeUInt32LE(flags, at + 4);
    fields.forEach((v, j) => {
      out.writeBigUInt64LE(BigInt(v), at + 8 + 8 * j);
    });
  };
  program(0, 1, 5, [0, 0, 0, codeSize, codeSize, 0x1000]);
  program(1, 1, 6, [DATA_FILE, DATA_RVA, DATA_RVA, dataSize, dataSize + (init.bss ?? 0x2345), 0x1000]);
  const relocations = init.relocations ?? [];
  const rows = [
    [7, 0x800],
    [8, 24 * (relocations.length + 1)],
    [9, 24],
    ...(init.textrel === true ? [[22, 0]] : []),
    [0x6ffffff9, 1],
    [0, 0],
  ];
  program(2, 2, 6, [DATA_FILE, DATA_RVA, DATA_RVA, rows.length * 16, rows.length * 16, 8]);
  rows.flat().forEach((v, i) => {
    out.writeBigUInt64LE(BigInt(v), DATA_FILE + 8 * i);
  });
  [...relocations, 0].forEach((offset, i) => {
    out.writeBigUInt64LE(BigInt(offset), 0x800 + 24 * i);
    out.writeBigUInt64LE(i < relocations.length ? 8n : 0n, 0x808 + 24 * i);
    out.writeBigUInt64LE(0n, 0x810 + 24 * i);
  });
  Buffer.from(note).copy(out, noteAt);
  strings.copy(out, stringsAt);
  const section = (i: number, name: number, type: number, offset: number, size: number): void => {
    const at = sectionsAt + 64 * i;
    out.writeUInt32LE(name, at);
    out.writeUInt32LE(type, at + 4);
    out.writeBigUInt64LE(BigInt(offset), at + 24);
    out.writeBigUInt64LE(BigInt(size), at + 32);
  };
  section(1, 1, 7, noteAt, note.length);
  section(2, 15, 3, stringsAt, strings.length);
  return out;
}

/** A TCS template: OSSA, OENTRY, FS and GS from the TCS. */
export function tcsTemplate(shift = 0n): Uint8Array {
  const b = Buffer.alloc(72);
  b.writeBigUInt64LE(0x1000n + shift, 16);
  b.writeUInt32LE(2, 28);
  b.writeBigUInt64LE(0x1234n + shift, 32);
  b.writeBigUInt64LE(0x13000n + shift, 48);
  b.writeBigUInt64LE(0x13000n + shift, 56);
  b.writeUInt32LE(0xffffffff, 64);
  b.writeUInt32LE(0xffffffff, 68);
  return new Uint8Array(b);
}

/** Rows of heap and thread context as the SDK lays them out, with rising addresses. */
export function sampleLayout(
  options: { dynamic?: boolean; eremove?: boolean; threads?: number; shift?: bigint } = {},
): LayoutRowInit[] {
  const rows: LayoutRowInit[] = [];
  let rva = 0x9000n;
  const put = (
    id: number,
    attributes: number,
    page_count: number,
    si_flags: bigint,
    more: object = {},
  ): void => {
    const { content, ...rest } = more as { content?: Uint8Array };
    const entry = { id, attributes, page_count, rva, si_flags, ...rest };
    rows.push(content === undefined ? { entry } : { entry, content });
    rva += BigInt(page_count * PAGE);
  };
  const thread = (base: number, removed: number): void => {
    const dyn = base === 11;
    const a = (n: number): number => (dyn ? 8 | 32 : n | removed);
    put(10, 0, 16, 0n);
    if (options.dynamic === true)
      put(dyn ? 17 : 7, dyn ? 8 | 64 : 1 | 2 | 64 | removed, 2, 0x203n, { content_size: 0xcccccccc });
    put(dyn ? 18 : 8, a(3), 2, 0x203n, { content_size: 0xcccccccc });
    put(10, 0, 16, 0n);
    put(dyn ? 14 : 4, a(3), 1, 0x100n, { content: tcsTemplate(options.shift) });
    put(dyn ? 16 : 6, a(3), 2, 0x203n);
    put(10, 0, 16, 0n);
    put(dyn ? 15 : 5, a(3), 1, 0x203n);
  };
  const group = (id: number, entry_count: number, load_times: number): void => {
    const load_step = rows
      .slice(-entry_count)
      .reduce((sum, row) => sum + BigInt('entry' in row ? (row.entry.page_count ?? 0) * PAGE : 0), 0n);
    rows.push({ group: { id, entry_count, load_times, load_step } });
    rva += load_step * BigInt(load_times);
  };
  put(1, 1, 3, 0x203n);
  if (options.dynamic === true) {
    put(2, 1 | 8 | 16, 2, 0x203n);
    put(3, 8, 4, 0x203n);
  }
  const each = options.dynamic === true ? 8 : 7;
  thread(1, 0);
  group(0x1009, each, options.threads ?? 2);
  if (options.eremove === true) {
    thread(1, 4);
    group(0x1009, each, 1);
  }
  if (options.dynamic === true) {
    thread(11, 0);
    group(0x1013, each, 2);
    put(20, 1, 1, 0x207n);
    put(22, 8, 2, 0x203n);
    put(23, 8, 8, 0x203n);
  }
  return rows;
}

/** What is common to the samples: SIGSTRUCT bytes that nobody checks, patches of `g_global_data` and of e_shoff. */
export function sampleMetadata(major: number, minor: number, more: Partial<MetadataInit> = {}): MetadataInit {
  return {
    version: { major, minor },
    ssa_frame_size: 1,
    max_save_buffer_size: 2632,
    enclave_size: 0x400000n,
    attributes: { FLAGS: 4n, XFRM: 0xe7n },
    enclave_css: noise(1808, 5),
    layout: sampleLayout(),
    patches: [
      { dst: BigInt(GLOBAL_DATA), data: noise(600, 77) },
      { dst: 40n, data: new Uint8Array(8) },
      { dst: 60n, data: new Uint8Array(4) },
    ],
    ...more,
  };
}

/** A file with these metadata blocks. */
export function sampleSignedSo(blocks: readonly MetadataInit[], elf: ElfInit = {}): Buffer {
  return buildElf(writeMetadataSection(blocks.map(writeMetadata)), elf);
}
