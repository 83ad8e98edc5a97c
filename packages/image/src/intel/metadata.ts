/** Reading the blocks of `.note.sgxmeta`. Source: Intel SGX SDK for Linux, psw/urts (get_metadata, validate_metadata). */
import { NsgxError, readU32, readU64, type Struct } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import type { FileRange } from './elf.js';
import { MAX_METADATA_BLOCKS, MAX_METADATA_BYTES, type SignedSoLimits } from './limits.js';
import {
  CSS_KEY,
  type CssKey,
  type DataDirectory,
  DIR_ELRANGE,
  DIR_EXTEND,
  DIR_LAYOUT,
  DIR_PATCH,
  ELRANGE_CONFIG_ENTRY,
  type ElrangeConfigEntry,
  EXTEND_ENTRY,
  EXTEND_ENTRY_ID_FIPS_SIG,
  EXTEND_ENTRY_ID_SHARED_OBJECT,
  GROUP_FLAG,
  hasElrange,
  hasExtend,
  LAYOUT_ENTRY,
  LAYOUT_GROUP,
  type LayoutEntry,
  type LayoutGroup,
  METADATA,
  METADATA_MAGIC,
  METADATA_NOTE,
  type Metadata,
  type MetadataVersion,
  metadataKind,
  metadataVersion,
  PATCH_ENTRY,
  type PatchEntry,
  SHARED_OBJECT_ENTRY,
  type SharedObjectEntry,
} from './metadata-format.js';

/** One row of the layout table. */
export type LayoutRow = { readonly entry: LayoutEntry } | { readonly group: LayoutGroup };

/** One metadata block, decoded; its directories lie inside it. */
export interface MetadataBlock {
  /** Where it begins in the file. */
  readonly fileOffset: number;
  readonly version: MetadataVersion;
  /** The fixed part. Directories that its version does not have are zero. */
  readonly metadata: Metadata;
  /** All bytes of the block, which content_offset and patch sources refer to. */
  readonly bytes: Uint8Array;
  readonly patches: readonly PatchEntry[];
  readonly layout: readonly LayoutRow[];
  readonly elrange: ElrangeConfigEntry | null;
  /** A second shared object inside the file that is part of the enclave. */
  readonly sharedObject: SharedObjectEntry | null;
  /** The second signature over enclave_css, for the FIPS mode of IPP. */
  readonly fipsSignature: CssKey | null;
}

/** Bytes of a block before its directories, and with the two that every version has. */
const DIRS_AT = METADATA.offsets.dirs;
const SMALLEST_BLOCK = DIRS_AT + 16;

/** A block or field that cannot be. */
function wrong(message: string): NsgxError {
  return damaged('IMAGE_METADATA', message);
}

/** All metadata blocks of the section, in file order. Throws IMAGE_METADATA. */
export function readMetadataBlocks(
  b: Uint8Array,
  section: FileRange,
  limits: SignedSoLimits,
): MetadataBlock[] {
  const end = section.offset + section.size;
  let at = section.offset + noteHeader(b, section);
  const blocks: MetadataBlock[] = [];
  while (at + 20 <= end && readU64(b, at) === METADATA_MAGIC) {
    if (blocks.length === MAX_METADATA_BLOCKS)
      throw wrong(`the section has more than ${MAX_METADATA_BLOCKS} metadata_t blocks`);
    const size = readU32(b, at + METADATA.offsets.size);
    if (size < SMALLEST_BLOCK || size > MAX_METADATA_BYTES)
      throw wrong(
        `metadata_t at offset ${hex(at)}: size is ${size}, not ${SMALLEST_BLOCK}…${MAX_METADATA_BYTES}`,
      );
    if (at + size > end)
      throw wrong(`metadata_t at offset ${hex(at)}: size ${size} ends after its section at ${hex(end)}`);
    blocks.push(decodeBlock(b.slice(at, at + size), at, limits));
    at += size;
  }
  if (blocks.length === 0)
    throw new NsgxError(
      'IMAGE_METADATA',
      `metadata_t at offset ${hex(at)}: magic_num is missing, the enclave is not signed`,
      { advice: 'Sign it with `nsgx sign`, and give the .signed.so file.' },
    );
  return blocks;
}

/** Length of the note's header and name: 12 + namesz, not padded. */
function noteHeader(b: Uint8Array, section: FileRange): number {
  if (section.size < 12) throw wrong(`Elf64_Nhdr: the section has ${section.size} bytes`);
  const namesz = readU32(b, section.offset);
  const name = METADATA_NOTE;
  if (namesz !== name.length + 1)
    throw wrong(`Elf64_Nhdr.n_namesz is ${namesz}, the note's name has ${name.length + 1} bytes`);
  if (section.size < 12 + namesz) throw wrong(`Elf64_Nhdr: the section has ${section.size} bytes`);
  for (let i = 0; i < namesz; i++)
    if (b[section.offset + 12 + i] !== (name.charCodeAt(i) || 0))
      throw wrong(`the note of the section is not named "${name}"`);
  return 12 + namesz;
}

function decodeBlock(bytes: Uint8Array, fileOffset: number, limits: SignedSoLimits): MetadataBlock {
  const version = metadataVersion(readU64(bytes, METADATA.offsets.version));
  const where = `metadata_t ${version.major}.${version.minor}`;
  const elrangeHere = hasElrange(version);
  const extendHere = hasExtend(version);
  const dirs = extendHere ? 4 : elrangeHere ? 3 : 2;
  if (bytes.length < DIRS_AT + dirs * 8) throw wrong(`${where}: size is ${bytes.length}`);
  // Versions with fewer directories have data where later ones have theirs.
  const fixed = new Uint8Array(METADATA.size);
  fixed.set(bytes.subarray(0, DIRS_AT + dirs * 8));
  const metadata = METADATA.decode(fixed);
  checkFields(where, metadata, limits);
  metadata.dirs.forEach((dir, i) => {
    if (dir.offset === 0 && dir.size === 0) return;
    if (dir.offset + dir.size > bytes.length)
      throw wrong(
        `${where}: dirs[${i}] has ${dir.size} bytes at ${hex(dir.offset)}, the block has ${bytes.length}`,
      );
  });
  const layout = rows(where, 'DIR_LAYOUT', bytes, metadata.dirs[DIR_LAYOUT], LAYOUT_ENTRY).map(
    (entry, i): LayoutRow =>
      (entry.id & GROUP_FLAG) === 0
        ? { entry }
        : { group: LAYOUT_GROUP.decode(bytes, metadata.dirs[DIR_LAYOUT].offset + i * LAYOUT_GROUP.size) },
  );
  return {
    fileOffset,
    version,
    metadata,
    bytes,
    patches: rows(where, 'DIR_PATCH', bytes, metadata.dirs[DIR_PATCH], PATCH_ENTRY),
    layout,
    elrange: elrangeHere ? readElrange(where, bytes, metadata, limits) : null,
    sharedObject: extension(where, bytes, metadata, EXTEND_ENTRY_ID_SHARED_OBJECT, SHARED_OBJECT_ENTRY),
    fipsSignature: extension(where, bytes, metadata, EXTEND_ENTRY_ID_FIPS_SIG, CSS_KEY),
  };
}

/** What the extend entry of that id leads to. */
function extension<T>(where: string, b: Uint8Array, m: Metadata, id: number, type: Struct<T>): T | null {
  const found = rows(where, 'DIR_EXTEND', b, m.dirs[DIR_EXTEND], EXTEND_ENTRY).find(
    (e) => e.entry_id === id && e.offset !== 0 && e.size !== 0,
  );
  if (found === undefined) return null;
  if (found.size !== type.size || found.offset + found.size > b.length)
    throw wrong(
      `${where}: extend_entry_t ${hex(id)} has ${found.size} bytes at ${hex(found.offset)}; there must be ${type.size}, inside the block`,
    );
  return type.decode(b, found.offset);
}

function rows<T>(where: string, name: string, b: Uint8Array, dir: DataDirectory, type: Struct<T>): T[] {
  if (dir.size % type.size !== 0)
    throw wrong(`${where}: dirs[${name}].size is ${dir.size}, not a multiple of ${type.name}'s ${type.size}`);
  return Array.from({ length: dir.size / type.size }, (_, i) => type.decode(b, dir.offset + i * type.size));
}

function checkFields(where: string, m: Metadata, limits: SignedSoLimits): void {
  if (m.tcs_policy > 1) throw wrong(`${where}: tcs_policy is ${m.tcs_policy}, not 0 or 1`);
  if (m.ssa_frame_size < 1 || m.ssa_frame_size > 4)
    throw wrong(`${where}: ssa_frame_size is ${m.ssa_frame_size}, not 1…4`);
  checkPower(where, 'enclave_size', m.enclave_size, limits);
}

function checkPower(where: string, field: string, size: bigint, limits: SignedSoLimits): void {
  if (size > BigInt(limits.maxEnclaveBytes))
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `${where}: ${field} is 0x${size.toString(16)}, more than ${hex(limits.maxEnclaveBytes)}`,
    );
  if (size < BigInt(2 * PAGE) || (size & (size - 1n)) !== 0n)
    throw wrong(`${where}: ${field} is 0x${size.toString(16)}, not a power of two of at least two pages`);
}

function readElrange(where: string, b: Uint8Array, m: Metadata, limits: SignedSoLimits): ElrangeConfigEntry {
  const dir = m.dirs[DIR_ELRANGE];
  if (dir.offset === 0 || dir.size !== ELRANGE_CONFIG_ENTRY.size)
    throw wrong(`${where}: dirs[DIR_ELRANGE].size is ${dir.size}, elrange_config_entry_t has 24 bytes`);
  const entry = ELRANGE_CONFIG_ENTRY.decode(b, dir.offset);
  const inside = `${where}: elrange_config_entry_t`;
  const { enclave_image_address: image, elrange_start_address: start, elrange_size: size } = entry;
  checkPower(inside, 'elrange_size', size, limits);
  if ((start & (size - 1n)) !== 0n)
    throw wrong(`${inside}.elrange_start_address is 0x${start.toString(16)}, not a multiple of elrange_size`);
  if (image % BigInt(PAGE) !== 0n || image < start || image + m.enclave_size > start + size)
    throw wrong(
      `${inside}.enclave_image_address is 0x${image.toString(16)}: the image lies outside of the ELRANGE`,
    );
  return entry;
}

/**
 * The block that a loader takes: the highest version that it can use. Early EDMM (2.x) is never used, EDMM (3.x)
 * only with `edmm`; versions above are of a later SDK. Throws IMAGE_METADATA_VERSION when none is left.
 */
export function chooseMetadata(blocks: readonly MetadataBlock[], edmm: boolean): MetadataBlock {
  let chosen: MetadataBlock | null = null;
  for (const block of blocks) {
    const kind = metadataKind(block.version);
    if (kind === 2 || kind > (edmm ? 3 : 1)) continue;
    if (chosen === null || block.metadata.version > chosen.metadata.version) chosen = block;
  }
  if (chosen !== null) return chosen;
  const versions = blocks.map(({ version }) => `${version.major}.${version.minor}`).join(', ');
  throw new NsgxError(
    'IMAGE_METADATA_VERSION',
    `metadata_t.version is ${versions}: none is usable ${edmm ? 'here' : 'without dynamic memory (EDMM)'}`,
    { advice: 'Load it where dynamic memory is on, or sign the enclave for SGX1 too.' },
  );
}
