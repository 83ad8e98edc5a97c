/**
 * The structures of Intel's `.note.sgxmeta` section, under the names of the SDK's header.
 * Source: Intel SGX SDK for Linux, common/inc/internal/metadata.h and se_page_attr.h (2.26).
 */
import {
  ATTRIBUTES,
  array,
  at,
  bytes,
  SIGSTRUCT,
  type StructValue,
  struct,
  u16,
  u32,
  u64,
} from '@nestedsgx/arch';

/** metadata_t.magic_num. */
export const METADATA_MAGIC = 0x86a80294635d0e4cn;
/** Name of the section and of the note in it (with its NUL the note's namesz is 13, and nothing pads it). */
export const METADATA_SECTION = '.note.sgxmeta';
export const METADATA_NOTE = 'sgx_metadata';

/** data_directory_t (8 bytes): a range of the metadata block. */
export const DATA_DIRECTORY = struct('data_directory_t', 8, { offset: at(0, u32), size: at(4, u32) });
/** Decoded {@link DATA_DIRECTORY}. */
export type DataDirectory = StructValue<typeof DATA_DIRECTORY>;

/** Indices of metadata_t.dirs. Older versions end after DIR_LAYOUT or DIR_ELRANGE. */
export const DIR_PATCH = 0;
export const DIR_LAYOUT = 1;
export const DIR_ELRANGE = 2;
export const DIR_EXTEND = 3;
export const DIR_NUM = 4;

/** metadata_t without its data (1904 bytes): what every version has, and four directories. */
export const METADATA = struct('metadata_t', 1904, {
  magic_num: at(0, u64),
  version: at(8, u64),
  size: at(16, u32),
  tcs_policy: at(20, u32),
  ssa_frame_size: at(24, u32),
  max_save_buffer_size: at(28, u32),
  desired_misc_select: at(32, u32),
  tcs_min_pool: at(36, u32),
  enclave_size: at(40, u64),
  attributes: at(48, ATTRIBUTES),
  enclave_css: at(64, bytes(SIGSTRUCT.size)),
  dirs: at(1872, array(DATA_DIRECTORY, DIR_NUM)),
});
/** Decoded {@link METADATA}. */
export type Metadata = StructValue<typeof METADATA>;

/** patch_entry_t (32 bytes): `size` bytes at `src` of the metadata block go to file offset `dst`. */
export const PATCH_ENTRY = struct('patch_entry_t', 32, {
  dst: at(0, u64),
  src: at(8, u32),
  size: at(12, u32),
});
/** Decoded {@link PATCH_ENTRY}. */
export type PatchEntry = StructValue<typeof PATCH_ENTRY>;

/** layout_entry_t (32 bytes): a range of pages; rva is in bytes from the image's base. */
export const LAYOUT_ENTRY = struct('layout_entry_t', 32, {
  id: at(0, u16),
  attributes: at(2, u16),
  page_count: at(4, u32),
  rva: at(8, u64),
  content_size: at(16, u32),
  content_offset: at(20, u32),
  si_flags: at(24, u64),
});
/** Decoded {@link LAYOUT_ENTRY}. */
export type LayoutEntry = StructValue<typeof LAYOUT_ENTRY>;

/** layout_group_t (32 bytes): repeats the `entry_count` entries before it `load_times` times. */
export const LAYOUT_GROUP = struct('layout_group_t', 32, {
  id: at(0, u16),
  entry_count: at(2, u16),
  load_times: at(4, u32),
  load_step: at(8, u64),
});
/** Decoded {@link LAYOUT_GROUP}. */
export type LayoutGroup = StructValue<typeof LAYOUT_GROUP>;

/** elrange_config_entry_t (24 bytes): addresses at which the image and the ELRANGE must lie. */
export const ELRANGE_CONFIG_ENTRY = struct('elrange_config_entry_t', 24, {
  enclave_image_address: at(0, u64),
  elrange_start_address: at(8, u64),
  elrange_size: at(16, u64),
});
/** Decoded {@link ELRANGE_CONFIG_ENTRY}. */
export type ElrangeConfigEntry = StructValue<typeof ELRANGE_CONFIG_ENTRY>;

/** extend_entry_t (16 bytes), since versions 1.5 and 3.2. */
export const EXTEND_ENTRY = struct('extend_entry_t', 16, {
  entry_id: at(0, u32),
  size: at(4, u32),
  offset: at(8, u32),
});
/** css_key_t (772 bytes): a key and its signature; of the FIPS self test, the signature's bytes are big endian. */
export const CSS_KEY = struct('css_key_t', 772, {
  modulus: at(0, bytes(384)),
  exponent: at(384, u32),
  signature: at(388, bytes(384)),
});
export type CssKey = StructValue<typeof CSS_KEY>;
/** extend_entry_t.entry_id of a signature over enclave_css, a css_key_t, for the FIPS mode of IPP. */
export const EXTEND_ENTRY_ID_FIPS_SIG = 0x1001;
/** extend_entry_t.entry_id of a second shared object inside the file (an OpenSSL FIPS provider). */
export const EXTEND_ENTRY_ID_SHARED_OBJECT = 0x1002;
/** extend_entry_shared_object_t (32 bytes): where that object lies in the file, and where in the image. */
export const SHARED_OBJECT_ENTRY = struct('extend_entry_shared_object_t', 32, {
  file_offset: at(0, u64),
  mem_offset: at(8, u64),
  size: at(16, u64),
});
/** Decoded {@link SHARED_OBJECT_ENTRY}. */
export type SharedObjectEntry = StructValue<typeof SHARED_OBJECT_ENTRY>;

/** The SDK's tcs_t, first 72 bytes: the template; offsets are from the TCS page itself. */
export const TCS_TEMPLATE = struct('tcs_t', 72, {
  reserved0: at(0, u64),
  flags: at(8, u64),
  ossa: at(16, u64),
  cssa: at(24, u32),
  nssa: at(28, u32),
  oentry: at(32, u64),
  reserved1: at(40, u64),
  ofs_base: at(48, u64),
  ogs_base: at(56, u64),
  ofs_limit: at(64, u32),
  ogs_limit: at(68, u32),
});
/** Decoded {@link TCS_TEMPLATE}. */
export type TcsTemplate = StructValue<typeof TCS_TEMPLATE>;

/** Set in the id of a layout_group_t. */
export const GROUP_FLAG = 0x1000;

/** LAYOUT_ID_* without its prefix; those of groups lack GROUP_FLAG. */
export const LAYOUT_ID = Object.freeze({
  HEAP_MIN: 1,
  HEAP_INIT: 2,
  HEAP_MAX: 3,
  TCS: 4,
  TD: 5,
  SSA: 6,
  STACK_MAX: 7,
  STACK_MIN: 8,
  THREAD_GROUP: 9,
  GUARD: 10,
  HEAP_DYN_MIN: 11,
  HEAP_DYN_INIT: 12,
  HEAP_DYN_MAX: 13,
  TCS_DYN: 14,
  TD_DYN: 15,
  SSA_DYN: 16,
  STACK_DYN_MAX: 17,
  STACK_DYN_MIN: 18,
  THREAD_GROUP_DYN: 19,
  RSRV_MIN: 20,
  RSRV_INIT: 21,
  RSRV_MAX: 22,
  USER_REGION: 23,
});
/** LAYOUT_ID_* by number, as it stands in the table. */
export const LAYOUT_IDS: ReadonlyMap<number, string> = new Map(
  Object.entries(LAYOUT_ID).map(([name, id]) => [name.includes('GROUP') ? GROUP_FLAG | id : id, name]),
);
/** LAYOUT_ID_TCS_DYN: a TCS that is made at run time. */
export const LAYOUT_ID_TCS_DYN = LAYOUT_ID.TCS_DYN;

/** layout_entry_t.attributes: PAGE_ATTR_* and PAGE_DIR_GROW_DOWN. */
export const PAGE_ATTR_EADD = 1;
export const PAGE_ATTR_EEXTEND = 2;
export const PAGE_ATTR_EREMOVE = 4;
export const PAGE_ATTR_POST_ADD = 8;
export const PAGE_ATTR_POST_REMOVE = 16;
export const PAGE_ATTR_DYN_THREAD = 32;
export const PAGE_DIR_GROW_DOWN = 64;
/** Names of {@link PAGE_ATTR_EADD} … {@link PAGE_DIR_GROW_DOWN} by bit. */
export const PAGE_ATTR_NAMES = Object.freeze([
  'EADD',
  'EEXTEND',
  'EREMOVE',
  'POST_ADD',
  'POST_REMOVE',
  'DYN_THREAD',
  'GROW_DOWN',
]);

/** layout_entry_t.si_flags of a TCS: the page type alone, without permissions. */
export const SI_FLAGS_TCS = 0x100;
/** Page type PT_REG in layout_entry_t.si_flags; permissions R, W, X are the bits below. */
export const SI_FLAG_REG = 0x200;

/** metadata_t.version as major.minor. */
export interface MetadataVersion {
  readonly major: number;
  readonly minor: number;
}

/** The two halves of metadata_t.version. */
export function metadataVersion(version: bigint): MetadataVersion {
  return { major: Number(version >> 32n), minor: Number(version & 0xffff_ffffn) };
}

/** Versions that carry an ELRANGE have ten added to their major number. */
const MAJOR_VERSION_GAP = 10;

/** Whether a version belongs to a block with an ELRANGE. */
export function hasElrange(version: MetadataVersion): boolean {
  return version.major > MAJOR_VERSION_GAP;
}

/** The kind of a version: 1 without EDMM, 2 early EDMM (never used now), 3 EDMM. */
export function metadataKind(version: MetadataVersion): number {
  return version.major % MAJOR_VERSION_GAP;
}

/** Whether dirs[DIR_EXTEND] exists: from 1.5 and 3.2 on. */
export function hasExtend(version: MetadataVersion): boolean {
  const kind = metadataKind(version);
  return (kind === 1 && version.minor >= 5) || (kind === 3 && version.minor >= 2);
}
