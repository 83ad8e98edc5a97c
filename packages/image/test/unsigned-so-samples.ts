/** Enclaves before signing, as the SDK's linker command leaves them: small, with every part that signing looks at. */
import { noise } from './samples.js';

/** Where the sample's data segment lies, in memory and in the file; not page-aligned, with .bss behind it. */
const DATA_RVA = 0x3e00;
const DATA_FILE = 0x1e00;
const DATA_SIZE = 0x1000;
const CODE_SIZE = 0x1800;
const TEXT = 0x800;
/** File offset of g_global_data. */
export const GLOBAL_DATA_FILE = DATA_FILE + 0x200;
/** enclave_entry, in bytes from the image's base. */
export const ENTRY = 0x900;
const SHT = { RELA: 4, DYNAMIC: 6, NOTE: 7, STRTAB: 3, PROGBITS: 1, DYNSYM: 11 };

/** What may be otherwise than in an honest enclave. */
export interface UnsignedSoInit {
  /** Minor number of the SDK's version, 2.x.100. */
  sdk?: number;
  /** Bytes that the note reserves, and what its header says if that is something else. */
  room?: number;
  noteSays?: number;
  noteName?: string;
  bss?: number;
  tls?: { size: number; align: number };
  /** Places (addresses) of relocations of type R_X86_64_RELATIVE, or of `type`. */
  relocations?: readonly number[];
  relocationType?: number;
  textrel?: boolean;
  /** Names of the symbols that are there; one that ends in `?` is undefined, in `~` undefined and weak. */
  symbols?: readonly string[];
  /** Further empty sections by name. */
  sections?: readonly string[];
}

/** Builds the file. */
export function unsignedSo(init: UnsignedSoInit = {}): Buffer {
  const names = init.symbols ?? ['enclave_entry', 'g_global_data', 'optional~'];
  const relocations = init.relocations ?? [DATA_RVA + 0xc00];
  const noteName = init.noteName ?? 'sgx_metadata';
  const room = init.room ?? 0x6000;
  const note = Buffer.alloc(Math.ceil((13 + noteName.length + room) / 4) * 4);
  [noteName.length + 1, init.noteSays ?? room, 1].forEach((v, i) => {
    note.writeUInt32LE(v, 4 * i);
  });
  note.write(noteName, 12, 'latin1');
  const noteAt = DATA_FILE + DATA_SIZE;
  const extra = init.sections ?? [];
  const sectionNames = ['.dynsym', '.dynstr', '.rela.dyn', '.text', '.dynamic', '.note.sgxmeta', '.shstrtab'];
  const table = stringTable([...sectionNames, ...extra]);
  const sectionsAt = Math.ceil((noteAt + note.length + table.bytes.length) / 8) * 8;
  const count = 1 + sectionNames.length + extra.length;
  const out = Buffer.alloc(sectionsAt + 64 * count);
  Buffer.from(noise(CODE_SIZE - TEXT, 21)).copy(out, TEXT);
  Buffer.from(noise(DATA_SIZE, 22)).copy(out, DATA_FILE);
  out.fill(0, DATA_FILE, GLOBAL_DATA_FILE + 1768);
  out.writeBigUInt64LE((2n << 32n) | (BigInt(init.sdk ?? 26) << 16n) | 100n, GLOBAL_DATA_FILE);
  note.copy(out, noteAt);
  table.bytes.copy(out, noteAt + note.length);
  const programs = 3 + (init.tls === undefined ? 0 : 1);
  writeHeader(out, sectionsAt, programs, count, sectionNames.length);
  const program = (i: number, type: number, flags: number, fields: number[]): void => {
    out.writeUInt32LE(type, 64 + 56 * i);
    out.writeUInt32LE(flags, 68 + 56 * i);
    fields.forEach((v, j) => {
      out.writeBigUInt64LE(BigInt(v), 72 + 56 * i + 8 * j);
    });
  };
  program(0, 1, 5, [0, 0, 0, CODE_SIZE, CODE_SIZE, 0x1000]);
  const memory = DATA_SIZE + (init.bss ?? 0x1234);
  program(1, 1, 6, [DATA_FILE, DATA_RVA, DATA_RVA, DATA_SIZE, memory, 0x1000]);
  const symbols = symbolTable(names);
  symbols.entries.copy(out, 0x200);
  symbols.strings.copy(out, 0x400);
  relocations.forEach((offset, i) => {
    out.writeBigUInt64LE(BigInt(offset), 0x600 + 24 * i);
    out.writeBigUInt64LE(BigInt(init.relocationType ?? 8), 0x608 + 24 * i);
  });
  const rows = [
    [5, 0x400],
    [6, 0x200],
    [7, 0x600],
    [8, 24 * relocations.length],
    [9, 24],
    ...(init.textrel === true ? [[22, 0]] : []),
    [0, 0],
  ];
  rows.flat().forEach((v, i) => {
    out.writeBigUInt64LE(BigInt(v), DATA_FILE + 8 * i);
  });
  program(2, 2, 6, [DATA_FILE, DATA_RVA, DATA_RVA, rows.length * 16, rows.length * 16, 8]);
  if (init.tls !== undefined) {
    const { size, align } = init.tls;
    program(3, 7, 4, [DATA_FILE + 0xb00, DATA_RVA + 0xb00, DATA_RVA + 0xb00, 16, size, align]);
  }
  const section = (
    i: number,
    type: number,
    flags: number,
    addr: number,
    offset: number,
    size: number,
  ): void => {
    const at = sectionsAt + 64 * i;
    out.writeUInt32LE(table.offsets[i - 1], at);
    out.writeUInt32LE(type, at + 4);
    [flags, addr, offset, size].forEach((v, j) => {
      out.writeBigUInt64LE(BigInt(v), at + 8 + 8 * j);
    });
    out.writeBigUInt64LE(4n, at + 48);
    out.writeBigUInt64LE(24n, at + 56);
  };
  section(1, SHT.DYNSYM, 2, 0x200, 0x200, symbols.entries.length);
  out.writeUInt32LE(2, sectionsAt + 64 + 40);
  section(2, SHT.STRTAB, 2, 0x400, 0x400, symbols.strings.length);
  section(3, SHT.RELA, 2, 0x600, 0x600, 24 * relocations.length);
  section(4, SHT.PROGBITS, 6, TEXT, TEXT, CODE_SIZE - TEXT);
  section(5, SHT.DYNAMIC, 3, DATA_RVA, DATA_FILE, rows.length * 16);
  section(6, SHT.NOTE, 0, 0, noteAt, note.length);
  section(7, SHT.STRTAB, 0, 0, noteAt + note.length, table.bytes.length);
  extra.forEach((_, i) => {
    section(8 + i, SHT.PROGBITS, 2, 0x1700, 0x1700, 8);
  });
  return out;
}

function writeHeader(out: Buffer, sections: number, programs: number, count: number, names: number): void {
  out.write('\x7fELF\x02\x01\x01', 'latin1');
  out.writeUInt16LE(3, 16);
  out.writeUInt16LE(62, 18);
  out.writeUInt32LE(1, 20);
  out.writeBigUInt64LE(BigInt(ENTRY), 24);
  out.writeBigUInt64LE(64n, 32);
  out.writeBigUInt64LE(BigInt(sections), 40);
  [64, 56, programs, 64, count, names].forEach((v, i) => {
    out.writeUInt16LE(v, 52 + 2 * i);
  });
}

function stringTable(names: readonly string[]): { bytes: Buffer; offsets: number[] } {
  const offsets: number[] = [];
  let text = '\0';
  for (const name of names) {
    offsets.push(text.length);
    text += `${name}\0`;
  }
  return { bytes: Buffer.from(text, 'latin1'), offsets };
}

function symbolTable(names: readonly string[]): { entries: Buffer; strings: Buffer } {
  const { bytes, offsets } = stringTable(names.map((name) => name.replace(/[?~]$/, '')));
  const entries = Buffer.alloc(24 * (names.length + 1));
  names.forEach((name, i) => {
    const at = 24 * (i + 1);
    entries.writeUInt32LE(offsets[i], at);
    entries[at + 4] = name.endsWith('~') ? 0x22 : 0x11;
    entries.writeUInt16LE(/[?~]$/.test(name) ? 0 : 4, at + 6);
    entries.writeBigUInt64LE(
      BigInt(name === 'enclave_entry' ? ENTRY : DATA_RVA + (GLOBAL_DATA_FILE - DATA_FILE)),
      at + 8,
    );
  });
  return { entries, strings: bytes };
}
