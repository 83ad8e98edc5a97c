/** Pages that relocation inside the enclave writes to. Source: AMD64 ABI supplement, "Relocation". */
import { at, struct, u32, u64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import { type ElfFile, type FileRange, fileRangeAt } from './elf.js';

const DT_PLTRELSZ = 2;
const DT_RELA = 7;
const DT_RELASZ = 8;
const DT_REL = 17;
const DT_TEXTREL = 22;
const DT_JMPREL = 23;
const R_X86_64_NONE = 0;
/** Bytes that one relocation writes. */
const WORD = 8;

/** Elf64_Rela (24 bytes); the low half of r_info is the type. */
export const ELF64_RELA = struct('Elf64_Rela', 24, {
  r_offset: at(0, u64),
  r_type: at(8, u32),
  r_sym: at(12, u32),
  r_addend: at(16, u64),
});

/**
 * Numbers of the pages that must become writable although their segment is not: those that hold a relocation,
 * when the file has DT_TEXTREL; none otherwise. Throws IMAGE_ELF.
 */
export function relocationPages(b: Uint8Array, elf: ElfFile, maxEnclaveBytes: number): ReadonlySet<number> {
  const pages = new Set<number>();
  checkNoRel(elf);
  if (!elf.dynamic.has(DT_TEXTREL)) return pages;
  for (const range of relocationTables(elf)) collect(b, range, pages, maxEnclaveBytes);
  return pages;
}

/** Where the file has the tables of relocations that the runtime applies. Throws IMAGE_ELF. */
export function relocationTables(elf: ElfFile): FileRange[] {
  checkNoRel(elf);
  return [tableRange(elf, DT_JMPREL, DT_PLTRELSZ), tableRange(elf, DT_RELA, DT_RELASZ)].filter(
    (range) => range !== null,
  );
}

function checkNoRel(elf: ElfFile): void {
  const rel = elf.dynamic.get(DT_REL);
  if (rel !== undefined && rel !== 0)
    throw damaged('IMAGE_ELF', `DT_REL is ${hex(rel)}: x86-64 has relocations with addends only`);
}

function tableRange(elf: ElfFile, table: number, size: number): FileRange | null {
  const address = elf.dynamic.get(table);
  const length = elf.dynamic.get(size) ?? 0;
  if (address === undefined || length === 0) return null;
  const range = fileRangeAt(elf.segments, address, length);
  if (range === null)
    throw damaged(
      'IMAGE_ELF',
      `${table === DT_RELA ? 'DT_RELA' : 'DT_JMPREL'} is ${hex(address)} with ${length} bytes: no PT_LOAD holds that`,
    );
  return range;
}

function collect(b: Uint8Array, range: FileRange, pages: Set<number>, max: number): void {
  const count = Math.floor(range.size / ELF64_RELA.size);
  for (let i = 0; i < count; i++) {
    const entry = ELF64_RELA.decode(b, range.offset + i * ELF64_RELA.size);
    if (entry.r_type === R_X86_64_NONE) continue;
    if (entry.r_offset > BigInt(max))
      throw damaged('IMAGE_ELF', `Elf64_Rela ${i}.r_offset is 0x${entry.r_offset.toString(16)}`);
    const offset = Number(entry.r_offset);
    const page = Math.floor(offset / PAGE);
    pages.add(page);
    if (offset % PAGE > PAGE - WORD) pages.add(page + 1);
  }
}
