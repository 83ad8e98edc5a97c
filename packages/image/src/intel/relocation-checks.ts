/**
 * Relocations that an enclave may have. Source: Intel SGX SDK for Linux, psw/urts/parser/elfparser.cpp; AMD64 ABI
 * supplement, "Relocation".
 */
import { NsgxError, readU32, readU64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import type { ElfFile, ElfSection } from './elf.js';
import { ELF64_RELA, relocationTables } from './relocation-pages.js';

/** NONE, 64, GLOB_DAT, JUMP_SLOT, RELATIVE, DTPMOD64, DTPOFF64, TPOFF64: what the trusted runtime applies. */
const KNOWN_TYPES: ReadonlySet<number> = new Set([0, 1, 6, 7, 8, 16, 17, 18]);
const SHT_RELA = 4;
const SHF_EXECINSTR = 4n;
/** Relocations times executable sections. */
const MAX_COMPARISONS = 200_000_000;

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

/** The first relocation in an executable section, if there is one. Throws IMAGE_TOO_LARGE when that takes too long. */
export function textRelocation(
  b: Uint8Array,
  sections: readonly ElfSection[],
): { readonly section: string; readonly address: bigint } | null {
  const code = sections.filter(({ flags }) => (flags & SHF_EXECINSTR) !== 0n);
  const tables = sections.filter(({ type }) => type === SHT_RELA);
  const entries = tables.reduce((sum, { file }) => sum + Math.floor(file.size / ELF64_RELA.size), 0);
  if (entries * code.length > MAX_COMPARISONS)
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the file has ${entries} relocations and ${code.length} executable sections, too many to compare`,
    );
  for (const { file } of tables) {
    for (let i = file.offset; i + ELF64_RELA.size <= file.offset + file.size; i += ELF64_RELA.size) {
      const address = readU64(b, i);
      const hit = code.find(
        ({ address: from, file: range }) => address >= from && address < from + BigInt(range.size),
      );
      if (hit !== undefined) return { section: hit.name, address };
    }
  }
  return null;
}
