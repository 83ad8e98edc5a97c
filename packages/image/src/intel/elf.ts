/**
 * A strict reader of the parts of ELF64 shared objects that matter to an enclave loader. Source: System V ABI,
 * "Object Files" and "Program Loading"; AMD64 supplement, "Relocation".
 */
import { at, bytes, type Struct, type StructValue, struct, u16, u32, u64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import { MAX_PROGRAM_HEADERS, MAX_SECTIONS } from './limits.js';

/** Elf64_Ehdr (64 bytes). */
export const ELF64_EHDR = struct('Elf64_Ehdr', 64, {
  e_ident: at(0, bytes(16)),
  e_type: at(16, u16),
  e_machine: at(18, u16),
  e_version: at(20, u32),
  e_entry: at(24, u64),
  e_phoff: at(32, u64),
  e_shoff: at(40, u64),
  e_flags: at(48, u32),
  e_ehsize: at(52, u16),
  e_phentsize: at(54, u16),
  e_phnum: at(56, u16),
  e_shentsize: at(58, u16),
  e_shnum: at(60, u16),
  e_shstrndx: at(62, u16),
});
/** Elf64_Phdr (56 bytes). */
export const ELF64_PHDR = struct('Elf64_Phdr', 56, {
  p_type: at(0, u32),
  p_flags: at(4, u32),
  p_offset: at(8, u64),
  p_vaddr: at(16, u64),
  p_paddr: at(24, u64),
  p_filesz: at(32, u64),
  p_memsz: at(40, u64),
  p_align: at(48, u64),
});
/** Elf64_Shdr (64 bytes). */
export const ELF64_SHDR = struct('Elf64_Shdr', 64, {
  sh_name: at(0, u32),
  sh_type: at(4, u32),
  sh_flags: at(8, u64),
  sh_addr: at(16, u64),
  sh_offset: at(24, u64),
  sh_size: at(32, u64),
  sh_link: at(40, u32),
  sh_info: at(44, u32),
  sh_addralign: at(48, u64),
  sh_entsize: at(56, u64),
});

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_TLS = 7;
const ET_DYN = 3;
const EM_X86_64 = 62;
const SHT_NOBITS = 8;
/** The highest tag of the dynamic section that is kept (DT_NUM of the ABI's first range). */
const DT_NUM = 38;

/** A PT_LOAD segment; offsets and lengths in bytes. */
export interface ElfSegment {
  readonly fileOffset: number;
  readonly fileSize: number;
  readonly rva: number;
  readonly memorySize: number;
  /** PF_X 1, PF_W 2, PF_R 4. */
  readonly flags: number;
}

/** PT_TLS as it stands in the file, unchecked; in bytes. */
export interface ElfTls {
  readonly memorySize: bigint;
  readonly align: bigint;
}

/** A range of the file. */
export interface FileRange {
  readonly offset: number;
  readonly size: number;
}

/** What was read of an ELF file. */
export interface ElfFile {
  readonly entry: number;
  /** PT_LOADs in the order of the program headers. */
  readonly segments: readonly ElfSegment[];
  /** Values of the dynamic section by tag (below 38; the last one counts). Empty without PT_DYNAMIC. */
  readonly dynamic: ReadonlyMap<number, number>;
  /** The last PT_TLS, if there is one. */
  readonly tls: ElfTls | null;
  /** The section of the name asked for. */
  readonly section: FileRange | null;
}

/** A section; offsets and lengths in bytes. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly link: number;
  /** Where its bytes lie in the file (none with SHT_NOBITS). */
  readonly file: FileRange;
  readonly align: bigint;
}

/** Whether bytes begin with the ELF magic. */
export function isElf(b: Uint8Array): boolean {
  return b.length >= 4 && b[0] === 0x7f && b[1] === 0x45 && b[2] === 0x4c && b[3] === 0x46;
}

/**
 * Reads an x86-64 ELF shared object. Throws IMAGE_ELF (the structure, field and value are named) and
 * IMAGE_TRUNCATED when a structure or its contents lie outside of the file.
 */
export function parseElf(b: Uint8Array, sectionName: string, maxEnclaveBytes: number): ElfFile {
  if (!isElf(b)) throw damaged('IMAGE_ELF', 'Elf64_Ehdr.e_ident does not begin with the ELF magic');
  const header = decodeAt(ELF64_EHDR, b, 0, '');
  checkHeader(header);
  const segments: ElfSegment[] = [];
  const dynamic = new Map<number, number>();
  let seenDynamic = false;
  let tls: ElfTls | null = null;
  for (let i = 0; i < header.e_phnum; i++) {
    const start = inFile('Elf64_Ehdr.e_phoff', header.e_phoff, b) + i * ELF64_PHDR.size;
    const ph = decodeAt(ELF64_PHDR, b, start, ` ${i}`);
    if (ph.p_type === PT_LOAD) segments.push(segment(b, ph, i, maxEnclaveBytes));
    if (ph.p_type === PT_TLS) tls = { memorySize: ph.p_memsz, align: ph.p_align };
    if (ph.p_type === PT_DYNAMIC && !seenDynamic) {
      seenDynamic = true;
      readDynamic(b, fileRange(b, `Elf64_Phdr ${i}`, 'p_offset', ph.p_offset, ph.p_filesz), dynamic);
    }
  }
  if (segments.length === 0) throw damaged('IMAGE_ELF', 'no Elf64_Phdr has p_type PT_LOAD');
  const entry = bounded('Elf64_Ehdr.e_entry', header.e_entry, maxEnclaveBytes);
  return { entry, segments, dynamic, tls, section: findSection(b, header, sectionName) };
}

/** Every section of a file that `parseElf` has read. Throws IMAGE_ELF, IMAGE_TRUNCATED. */
export function elfSections(b: Uint8Array): ElfSection[] {
  const header = decodeAt(ELF64_EHDR, b, 0, '');
  const { sectionAt, strings } = sectionTable(b, header);
  return Array.from({ length: header.e_shnum }, (_, i) => {
    const section = sectionAt(i);
    const size = section.sh_type === SHT_NOBITS ? 0n : section.sh_size;
    const offset = size === 0n ? 0n : section.sh_offset;
    return {
      name: stringAt(b, strings, section.sh_name),
      type: section.sh_type,
      flags: section.sh_flags,
      address: section.sh_addr,
      link: section.sh_link,
      file: fileRange(b, `Elf64_Shdr ${i}`, 'sh_offset', offset, size),
      align: section.sh_addralign,
    };
  });
}

/** The string at an offset of a string table, at most 256 bytes of it. */
export function stringAt(b: Uint8Array, table: FileRange, at: number): string {
  if (at >= table.size) return '';
  const from = table.offset + at;
  const rest = b.subarray(from, Math.min(table.offset + table.size, from + 256));
  const end = rest.indexOf(0);
  return String.fromCharCode(...(end === -1 ? rest : rest.subarray(0, end)));
}

/** The file range that holds `size` bytes of memory at `address`, or null where no PT_LOAD has them in the file. */
export function fileRangeAt(
  segments: readonly ElfSegment[],
  address: number,
  size: number,
): FileRange | null {
  const found = segments.find((s) => address >= s.rva && address + size <= s.rva + s.fileSize);
  return found === undefined ? null : { offset: found.fileOffset + (address - found.rva), size };
}

/** A 64-bit field that may be at most `limit`, as a number. Throws IMAGE_ELF. */
export function bounded(what: string, value: bigint, limit: number): number {
  if (value > BigInt(limit))
    throw damaged('IMAGE_ELF', `${what} is 0x${value.toString(16)}, more than ${hex(limit)}`);
  return Number(value);
}

function decodeAt<T>(type: Struct<T>, b: Uint8Array, start: number, which: string): T {
  if (start + type.size > b.length)
    throw damaged('IMAGE_TRUNCATED', `${type.name}${which} at offset ${hex(start)} ends after the file`);
  return type.decode(b, start);
}

function checkHeader(header: StructValue<typeof ELF64_EHDR>): void {
  const want = (field: string, value: number, expected: number): void => {
    if (value !== expected)
      throw damaged('IMAGE_ELF', `Elf64_Ehdr.${field} is ${value}, an enclave has ${expected}`);
  };
  want('e_ident[EI_CLASS]', header.e_ident[4], 2);
  want('e_ident[EI_DATA]', header.e_ident[5], 1);
  want('e_ident[EI_VERSION]', header.e_ident[6], 1);
  want('e_type', header.e_type, ET_DYN);
  want('e_machine', header.e_machine, EM_X86_64);
  want('e_phentsize', header.e_phentsize, ELF64_PHDR.size);
  want('e_shentsize', header.e_shentsize, ELF64_SHDR.size);
  if (header.e_phnum > MAX_PROGRAM_HEADERS)
    throw damaged('IMAGE_ELF', `Elf64_Ehdr.e_phnum is ${header.e_phnum}, more than ${MAX_PROGRAM_HEADERS}`);
  if (header.e_shnum > MAX_SECTIONS)
    throw damaged('IMAGE_ELF', `Elf64_Ehdr.e_shnum is ${header.e_shnum}, more than ${MAX_SECTIONS}`);
  if (header.e_shstrndx >= header.e_shnum)
    throw damaged(
      'IMAGE_ELF',
      `Elf64_Ehdr.e_shstrndx is ${header.e_shstrndx}, but e_shnum is ${header.e_shnum}`,
    );
}

function inFile(what: string, value: bigint, b: Uint8Array): number {
  if (value > BigInt(b.length))
    throw damaged('IMAGE_TRUNCATED', `${what} is 0x${value.toString(16)}, the file has ${b.length} bytes`);
  return Number(value);
}

function fileRange(b: Uint8Array, which: string, field: string, offset: bigint, size: bigint): FileRange {
  const from = inFile(`${which}.${field}`, offset, b);
  if (offset + size > BigInt(b.length))
    throw damaged(
      'IMAGE_TRUNCATED',
      `${which} has 0x${size.toString(16)} bytes at ${field} ${hex(from)}, the file has ${b.length} bytes`,
    );
  return { offset: from, size: Number(size) };
}

function segment(b: Uint8Array, ph: StructValue<typeof ELF64_PHDR>, index: number, max: number): ElfSegment {
  const which = `Elf64_Phdr ${index}`;
  const { offset, size } = fileRange(b, which, 'p_offset', ph.p_offset, ph.p_filesz);
  const rva = bounded(`${which}.p_vaddr`, ph.p_vaddr, max);
  const memorySize = bounded(`${which}.p_memsz`, ph.p_memsz, max);
  if (memorySize < size)
    throw damaged('IMAGE_ELF', `${which}.p_memsz is ${hex(memorySize)}, less than p_filesz ${hex(size)}`);
  if (ph.p_align % BigInt(PAGE) !== 0n)
    throw damaged('IMAGE_ELF', `${which}.p_align is 0x${ph.p_align.toString(16)}, not a multiple of a page`);
  const flags = ph.p_flags & 7;
  if (flags === 0)
    throw damaged('IMAGE_ELF', `${which}.p_flags is ${hex(ph.p_flags)}: a segment without any access`);
  return { fileOffset: offset, fileSize: size, rva, memorySize, flags };
}

function readDynamic(b: Uint8Array, range: FileRange, into: Map<number, number>): void {
  const view = new DataView(b.buffer, b.byteOffset, b.byteLength);
  for (let i = range.offset; i + 16 <= range.offset + range.size; i += 16) {
    const tag = view.getBigUint64(i, true);
    if (tag === 0n) return;
    if (tag >= BigInt(DT_NUM)) continue;
    const value = view.getBigUint64(i + 8, true);
    into.set(Number(tag), value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value));
  }
}

function sectionTable(b: Uint8Array, header: StructValue<typeof ELF64_EHDR>) {
  const table = inFile('Elf64_Ehdr.e_shoff', header.e_shoff, b);
  const sectionAt = (i: number) => decodeAt(ELF64_SHDR, b, table + i * ELF64_SHDR.size, ` ${i}`);
  const names = sectionAt(header.e_shstrndx);
  const strings = fileRange(b, 'section header string table', 'sh_offset', names.sh_offset, names.sh_size);
  return { sectionAt, strings };
}

function findSection(b: Uint8Array, header: StructValue<typeof ELF64_EHDR>, name: string): FileRange | null {
  const { sectionAt, strings } = sectionTable(b, header);
  for (let i = 0; i < header.e_shnum; i++) {
    const section = sectionAt(i);
    if (!hasName(b, strings, section.sh_name, name)) continue;
    if (section.sh_type === SHT_NOBITS)
      throw damaged('IMAGE_ELF', `Elf64_Shdr ${i} (${name}).sh_type is SHT_NOBITS: the section has no bytes`);
    return fileRange(b, `Elf64_Shdr ${i} (${name})`, 'sh_offset', section.sh_offset, section.sh_size);
  }
  return null;
}

function hasName(b: Uint8Array, strings: FileRange, at: number, name: string): boolean {
  if (at + name.length >= strings.size) return false;
  const from = strings.offset + at;
  for (let i = 0; i < name.length; i++) if (b[from + i] !== name.charCodeAt(i)) return false;
  return b[from + name.length] === 0;
}
