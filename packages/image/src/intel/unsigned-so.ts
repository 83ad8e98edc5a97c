/**
 * What signing needs to know of an enclave's shared object. Source: Intel SGX SDK for Linux 2.26, psw/urts/parser
 * (which objects are enclaves) and sdk/trts/linux/metadata_sec.S; System V ABI, "Symbol Table".
 */
import { at, NsgxError, readU32, readU64, struct, u8, u16, u32, u64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import { type ElfFile, type ElfSection, elfSections, parseElf, stringAt } from './elf.js';
import { GLOBAL_DATA } from './global-data.js';
import type { SignedSoLimits } from './limits.js';
import { METADATA_MAGIC, METADATA_NOTE, METADATA_SECTION } from './metadata-format.js';
import { checkRelocationTypes, textRelocation } from './relocation-checks.js';
import { SDK_RELEASES, type SdkRelease, sdkVersionText } from './sdk-release.js';

/** Elf64_Sym (24 bytes). */
const ELF64_SYM = struct('Elf64_Sym', 24, {
  st_name: at(0, u32),
  st_info: at(4, u8),
  st_shndx: at(6, u16),
  st_value: at(8, u64),
  st_size: at(16, u64),
});
const SHT_DYNSYM = 11;
const STB_WEAK = 2;
const MAX_SYMBOLS = 1_000_000;

/** What may be signed although it is unusual. */
export interface UnsignedSoOptions {
  /** Relocations in executable sections: their pages become writable. */
  readonly allowTextRelocations?: boolean;
  /** A section `.init`, which the SDK's runtime never calls. */
  readonly allowInitSection?: boolean;
  /** Metadata that is there already is replaced. */
  readonly resign?: boolean;
}

/** An enclave that can be signed. */
export interface UnsignedSo {
  readonly elf: ElfFile;
  /** Where enclave_entry lies, in bytes from the image's base. */
  readonly entry: bigint;
  /** File offset of g_global_data. */
  readonly globalDataOffset: number;
  /** The SDK it was built with. */
  readonly release: SdkRelease;
  /** Built for simulation (SGX_MODE=SIM): no machine with SGX runs it. */
  readonly simulation: boolean;
  /** Bytes that a thread's local storage takes, 0 without. */
  readonly tlsBytes: number;
  /** Where metadata begins in the file, and how many bytes are reserved for it. */
  readonly metadataOffset: number;
  readonly metadataRoom: number;
}

/**
 * Reads a shared object that was linked as the SDK links enclaves. Throws IMAGE_ELF, IMAGE_TRUNCATED,
 * SIGN_SHARED_OBJECT (no enclave, or one that may not be signed), SIGN_ALREADY_SIGNED, SIGN_SDK_VERSION.
 */
export function readUnsignedSo(
  b: Uint8Array,
  limits: SignedSoLimits,
  options: UnsignedSoOptions = {},
): UnsignedSo {
  const elf = parseElf(b, METADATA_SECTION, limits.maxEnclaveBytes);
  const sections = elfSections(b);
  const { metadataOffset, metadataRoom } = metadataNote(b, sections);
  if (readU64(b, metadataOffset) === METADATA_MAGIC && options.resign !== true)
    throw new NsgxError('SIGN_ALREADY_SIGNED', 'the enclave is signed already', {
      advice: 'Give the file before signing, or replace the signature with `--resign`.',
    });
  checkSegments(elf);
  const symbols = enclaveSymbols(b, sections);
  checkRelocationTypes(b, elf);
  for (const name of ['.ctors', '.init'])
    if (sections.some((section) => section.name === name) && !(name === '.init' && options.allowInitSection))
      throw refused(`the enclave has a section ${name}: its initializers would not be called`, LINKING);
  const first = textRelocation(b, sections);
  if (first !== null && options.allowTextRelocations !== true)
    throw refused(
      `the enclave has a relocation in ${first.section} at 0x${first.address.toString(16)}: its code would have to be writable`,
      'Compile all objects with -fPIC, or sign with `--ignore-rel-error`.',
    );
  const globalData = symbols.get('g_global_data');
  if (globalData === undefined)
    throw refused('the enclave has no symbol g_global_data: it was not linked with the SDK', LINKING);
  const globalDataOffset = fileOffsetOf(elf, globalData);
  const sdkVersion = readU64(b, globalDataOffset);
  const release = SDK_RELEASES.find(({ version }) => version === sdkVersion);
  if (release === undefined)
    throw new NsgxError(
      'SIGN_SDK_VERSION',
      `the enclave was built with the SDK ${sdkVersionText(sdkVersion)}; known are ${sdkVersionText(SDK_RELEASES.at(-1)!.version)} to ${sdkVersionText(SDK_RELEASES[0].version)}`,
      { advice: 'Build it with one of these, or sign it with the sgx_sign of its own SDK.' },
    );
  const entry = symbols.get('enclave_entry') ?? BigInt(elf.entry);
  if (entry === 0n) throw refused('the enclave has no symbol enclave_entry', LINKING);
  return {
    elf,
    entry,
    globalDataOffset,
    release,
    simulation: symbols.has('g_global_data_sim'),
    tlsBytes: tlsBytes(elf, limits),
    metadataOffset,
    metadataRoom,
  };
}

const LINKING = 'Link it as the SDK does: its libraries, its version script, no start files.';

function refused(message: string, advice?: string): NsgxError {
  return new NsgxError('SIGN_SHARED_OBJECT', message, { advice });
}

/** The note that the SDK's object files reserve for metadata. */
function metadataNote(b: Uint8Array, sections: readonly ElfSection[]) {
  const section = sections.find(({ name }) => name === METADATA_SECTION);
  if (section === undefined)
    throw refused(`the enclave has no section ${METADATA_SECTION} to hold metadata`, LINKING);
  const { offset, size } = section.file;
  const head = 12 + METADATA_NOTE.length + 1;
  if (size < head + 8) throw refused(`${METADATA_SECTION} has ${size} bytes, no note fits that`);
  const name = stringAt(b, { offset: offset + 12, size: head - 12 }, 0);
  if (readU32(b, offset) !== METADATA_NOTE.length + 1 || name !== METADATA_NOTE)
    throw refused(`the note in ${METADATA_SECTION} is not named "${METADATA_NOTE}"`);
  const metadataRoom = readU32(b, offset + 4);
  const align = Math.max(1, Number(section.align));
  if (size !== Math.ceil((head + metadataRoom) / align) * align)
    throw refused(`${METADATA_SECTION} has ${size} bytes, but its note says ${metadataRoom} of metadata`);
  return { metadataOffset: offset + head, metadataRoom };
}

function checkSegments(elf: ElfFile): void {
  const sorted = [...elf.segments].sort((x, y) => x.rva - y.rva);
  for (let i = 1; i < sorted.length; i++) {
    const before = sorted[i - 1];
    if (Math.ceil((before.rva + before.memorySize) / PAGE) * PAGE > sorted[i].rva)
      throw damaged(
        'IMAGE_ELF',
        `PT_LOAD at ${hex(before.rva)} shares a page with or overlaps the one at ${hex(sorted[i].rva)}`,
      );
  }
}

/** The symbols that matter, by name. Every other reference must be defined inside. */
function enclaveSymbols(b: Uint8Array, sections: readonly ElfSection[]): Map<string, bigint> {
  const wanted = ['enclave_entry', 'g_global_data', 'g_global_data_sim'];
  const table = sections.find(({ type }) => type === SHT_DYNSYM);
  const strings = table === undefined ? undefined : sections[table.link];
  if (table === undefined || strings === undefined)
    throw refused('the enclave has no dynamic symbols', LINKING);
  const count = Math.min(MAX_SYMBOLS, Math.floor(table.file.size / ELF64_SYM.size));
  const found = new Map<string, bigint>();
  for (let i = 1; i < count; i++) {
    const symbol = ELF64_SYM.decode(b, table.file.offset + i * ELF64_SYM.size);
    if (symbol.st_name === 0) continue;
    const name = stringAt(b, strings.file, symbol.st_name);
    if (symbol.st_shndx === 0 && symbol.st_info >> 4 !== STB_WEAK)
      throw refused(
        `the symbol ${name} is undefined`,
        'Link the library that defines it; an enclave has no system libraries.',
      );
    if (wanted.includes(name)) found.set(name, symbol.st_value);
  }
  return found;
}

function fileOffsetOf(elf: ElfFile, address: bigint): number {
  for (const { rva, fileOffset, fileSize } of elf.segments) {
    const from = address - BigInt(rva);
    if (from >= 0n && from + BigInt(GLOBAL_DATA.size) <= BigInt(fileSize)) return fileOffset + Number(from);
  }
  throw refused(`g_global_data at 0x${address.toString(16)} does not lie in the file`);
}

function tlsBytes({ tls }: ElfFile, limits: SignedSoLimits): number {
  if (tls === null) return 0;
  const { memorySize, align } = tls;
  if (memorySize > BigInt(limits.maxEnclaveBytes) || align > BigInt(limits.maxEnclaveBytes))
    throw damaged(
      'IMAGE_ELF',
      `PT_TLS: p_memsz is 0x${memorySize.toString(16)}, p_align 0x${align.toString(16)}`,
    );
  const step = align === 0n ? 1n : align;
  if ((step & (step - 1n)) !== 0n)
    throw damaged('IMAGE_ELF', `PT_TLS: p_align is 0x${align.toString(16)}, not a power of two`);
  return Number(((memorySize + step - 1n) / step) * step);
}
