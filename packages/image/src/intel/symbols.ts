/** Symbols of ELF64 shared objects. Source: System V ABI, "Symbol Table". */
import { at, struct, u8, u16, u32, u64 } from '@nestedsgx/arch';
import { elfSections, stringAt } from './elf.js';

/** Elf64_Sym (24 bytes). */
const ELF64_SYM = struct('Elf64_Sym', 24, {
  st_name: at(0, u32),
  st_info: at(4, u8),
  st_other: at(5, u8),
  st_shndx: at(6, u16),
  st_value: at(8, u64),
  st_size: at(16, u64),
});
const SECTION_TYPE = Object.freeze({ symtab: 2, dynsym: 11 });
const SHN_UNDEF = 0;
/** Most symbols that are looked at. */
const MAX_SYMBOLS = 1_000_000;

/** A symbol that the file defines. */
export interface ElfSymbol {
  readonly name: string;
  /** In bytes from the image's base. */
  readonly address: bigint;
  readonly size: bigint;
}

/**
 * The symbols that a file (which `parseElf` has read) defines: those of `.dynsym`, which every shared object has, or of
 * `.symtab`, which stripping removes. Symbols beyond a million are not looked at. Throws IMAGE_ELF, IMAGE_TRUNCATED.
 */
export function* elfSymbols(
  b: Uint8Array,
  table: keyof typeof SECTION_TYPE,
): Generator<ElfSymbol, void, undefined> {
  const sections = elfSections(b);
  let left = MAX_SYMBOLS;
  for (const section of sections) {
    if (section.type !== SECTION_TYPE[table]) continue;
    const strings = sections[section.link]?.file;
    if (strings === undefined) continue;
    const { offset, size } = section.file;
    for (let i = offset; i + ELF64_SYM.size <= offset + size && left-- > 0; i += ELF64_SYM.size) {
      const symbol = ELF64_SYM.decode(b, i);
      if (symbol.st_shndx === SHN_UNDEF) continue;
      yield {
        name: stringAt(b, strings, symbol.st_name),
        address: symbol.st_value,
        size: symbol.st_size,
      };
    }
  }
}
