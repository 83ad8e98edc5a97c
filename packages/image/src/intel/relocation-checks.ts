/**
 * Relocations that an enclave may have. Source: Intel SGX SDK for Linux, psw/urts/parser/elfparser.cpp; AMD64 ABI
 * supplement, "Relocation".
 */
import { readU32, readU64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import type { ElfFile, ElfSection } from './elf.js';
import { ELF64_RELA, relocationTables } from './relocation-pages.js';

/** NONE, 64, GLOB_DAT, JUMP_SLOT, RELATIVE, DTPMOD64, DTPOFF64, TPOFF64: what the trusted runtime applies. */
const KNOWN_TYPES: ReadonlySet<number> = new Set([0, 1, 6, 7, 8, 16, 17, 18]);
const SHT_RELA = 4;
const SHF_EXECINSTR = 4n;

/** Throws IMAGE_ELF for a relocation type that the trusted runtime does not apply. */
export function checkRelocationTypes(b: Uint8Array, elf: ElfFile): void {
  for (const { offset, size } of relocationTables(elf)) {
    for (let i = offset; i + ELF64_RELA.size <= offset + size; i += ELF64_RELA.size) {
      const type = readU32(b, i + ELF64_RELA.offsets.r_type);
      if (!KNOWN_TYPES.has(type))
        throw damaged(
          'IMAGE_ELF',
          `the relocation at file offset ${hex(i)} has type ${type}, unknown to enclaves`,
        );
    }
  }
}

/** Relocations in executable sections, the first of each section. */
export function textRelocations(
  b: Uint8Array,
  sections: readonly ElfSection[],
): { readonly section: string; readonly address: number }[] {
  const code = sections.filter(({ flags }) => (flags & SHF_EXECINSTR) !== 0n);
  const found = new Map<string, { section: string; address: number }>();
  for (const { file } of sections.filter(({ type }) => type === SHT_RELA)) {
    for (let i = file.offset; i + ELF64_RELA.size <= file.offset + file.size; i += ELF64_RELA.size) {
      const address = readU64(b, i);
      for (const { name, address: from, file: range } of code)
        if (address >= from && address < from + BigInt(range.size) && !found.has(name))
          found.set(name, { section: name, address: Number(address) });
    }
  }
  return [...found.values()];
}
