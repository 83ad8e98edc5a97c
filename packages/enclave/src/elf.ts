/**
 * A strict reader of 64-bit little-endian x86 ELF files: what the tool chain needs of its own linker's output, and no
 * more. Source: System V ABI, "Object Files", and its x86-64 supplement.
 */
import { enclaveError } from './errors.js';

/** Program header types. */
export const PT_LOAD = 1;
export const PT_INTERP = 3;
export const PT_TLS = 7;
/** Program header flags. */
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;
/** Section types. */
export const SHT_RELA = 4;
export const SHT_REL = 9;
export const SHT_RELR = 19;
/** The one relocation type the runtime applies. */
export const R_X86_64_RELATIVE = 8;

const SHF_ALLOC = 2n;
const MAX_HEADERS = 4096;

/** A program header. */
export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

/** A section header. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly allocated: boolean;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
}

/** One RELA entry. */
export interface ElfRelocation {
  readonly offset: number;
  readonly type: number;
  readonly symbol: number;
}

/** A parsed file. */
export interface ElfFile {
  /** e_entry. */
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
  /** All entries of allocated RELA sections. */
  readonly relocations: readonly ElfRelocation[];
}

function malformed(message: string): Error {
  return enclaveError('ELF_MALFORMED', `the linked file ${message}`, {
    advice: 'Delete the build folder and build again; if it stays, gcc or ld is broken.',
  });
}

class View {
  readonly #view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  #check(at: number, length: number): void {
    if (at < 0 || at + length > this.bytes.length) throw malformed(`ends before offset ${at + length}`);
  }
  u16(at: number): number {
    this.#check(at, 2);
    return this.#view.getUint16(at, true);
  }
  u32(at: number): number {
    this.#check(at, 4);
    return this.#view.getUint32(at, true);
  }
  u64(at: number): bigint {
    this.#check(at, 8);
    return this.#view.getBigUint64(at, true);
  }
  /** A u64 that must be a safe integer. */
  size(at: number): number {
    const value = this.u64(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`has an impossible value at offset ${at}`);
    return Number(value);
  }
  text(at: number, end: number): string {
    let stop = at;
    while (stop < end && this.bytes[stop] !== 0) stop++;
    return Buffer.from(this.bytes.subarray(at, stop)).toString('latin1');
  }
}

/** Parses an ELF file (not copied). Throws ELF_MALFORMED. */
export function readElf(bytes: Uint8Array): ElfFile {
  const view = new View(bytes);
  if (bytes.length < 64 || view.u32(0) !== 0x464c457f) throw malformed('has no ELF header');
  if (bytes[4] !== 2 || bytes[5] !== 1 || view.u16(18) !== 62)
    throw malformed('is not 64-bit little-endian x86-64');
  if (view.u16(54) !== 56 || view.u16(58) !== 64) throw malformed('has headers of an unknown size');
  const programHeaders = view.size(32);
  const programCount = view.u16(56);
  const sectionHeaders = view.size(40);
  const sectionCount = view.u16(60);
  const namesIndex = view.u16(62);
  if (programCount > MAX_HEADERS || sectionCount > MAX_HEADERS) throw malformed('has too many headers');

  const segments: ElfSegment[] = [];
  for (let i = 0; i < programCount; i++) {
    const at = programHeaders + i * 56;
    const segment: ElfSegment = {
      type: view.u32(at),
      flags: view.u32(at + 4),
      offset: view.size(at + 8),
      address: view.size(at + 16),
      fileSize: view.size(at + 32),
      memorySize: view.size(at + 40),
      align: view.size(at + 48),
    };
    if (segment.offset + segment.fileSize > bytes.length)
      throw malformed(`has segment ${i} outside of the file`);
    if (segment.type === PT_LOAD && segment.fileSize > segment.memorySize) {
      throw malformed(`has segment ${i} larger in the file than in memory`);
    }
    segments.push(segment);
  }

  const rawSections: {
    nameAt: number;
    type: number;
    flags: bigint;
    address: number;
    offset: number;
    size: number;
  }[] = [];
  for (let i = 0; i < sectionCount; i++) {
    const at = sectionHeaders + i * 64;
    rawSections.push({
      nameAt: view.u32(at),
      type: view.u32(at + 4),
      flags: view.u64(at + 8),
      address: view.size(at + 16),
      offset: view.size(at + 24),
      size: view.size(at + 32),
    });
  }
  const names = rawSections[namesIndex];
  if (sectionCount > 0 && (names === undefined || names.offset + names.size > bytes.length)) {
    throw malformed('has no section names');
  }
  const sections = rawSections.map((raw): ElfSection => {
    if (raw.nameAt >= names.size) throw malformed('has a section name outside of its table');
    return {
      name: view.text(names.offset + raw.nameAt, names.offset + names.size),
      type: raw.type,
      allocated: (raw.flags & SHF_ALLOC) !== 0n,
      address: raw.address,
      offset: raw.offset,
      size: raw.size,
    };
  });

  const relocations: ElfRelocation[] = [];
  for (const section of sections) {
    if (section.type !== SHT_RELA || !section.allocated) continue;
    if (section.size % 24 !== 0 || section.offset + section.size > bytes.length) {
      throw malformed(`has a damaged relocation section ${section.name}`);
    }
    for (let at = section.offset; at < section.offset + section.size; at += 24) {
      relocations.push({ offset: view.size(at), type: view.u32(at + 8), symbol: view.u32(at + 12) });
    }
  }
  return { entry: view.size(24), segments, sections, relocations };
}

const SHT_SYMTAB = 2;
const SYMBOL_BYTES = 24;

/** Address of a symbol of a linked file. Throws ELF_MALFORMED, also when there is no such symbol. */
export function elfSymbolAddress(bytes: Uint8Array, name: string): number {
  const view = new View(bytes);
  const { sections } = readElf(bytes);
  const table = sections.find((section) => section.type === SHT_SYMTAB);
  const strings = sections.find((section) => section.name === '.strtab');
  if (table === undefined || strings === undefined) throw malformed('has no symbols');
  for (let at = table.offset; at < table.offset + table.size; at += SYMBOL_BYTES) {
    const text = strings.offset + view.u32(at);
    if (view.text(text, strings.offset + strings.size) === name) return view.size(at + 8);
  }
  throw malformed(`has no symbol ${name}`);
}
