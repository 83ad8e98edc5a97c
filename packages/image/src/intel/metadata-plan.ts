/**
 * The metadata of an enclave that is to be signed, byte for byte as Intel's signing tool lays it out. Source: Intel SGX
 * SDK for Linux 2.26, sdk/sign_tool/SignTool/manage_metadata.cpp and sign_tool.cpp.
 */
import { type Attributes, copyBytes, NsgxError, type SigstructFields } from '@nestedsgx/arch';
import type { EnclaveConfig } from './config.js';
import { ELF64_EHDR } from './elf.js';
import { globalData, layoutBytes } from './global-data.js';
import { type LayoutPlan, planLayout } from './layout-plan.js';
import type { LayoutRow } from './metadata.js';
import {
  CSS_KEY,
  DIR_ELRANGE,
  DIR_EXTEND,
  DIR_LAYOUT,
  DIR_NUM,
  DIR_PATCH,
  ELRANGE_CONFIG_ENTRY,
  EXTEND_ENTRY,
  EXTEND_ENTRY_ID_FIPS_SIG,
  hasElrange,
  hasExtend,
  METADATA,
  METADATA_MAGIC,
  type MetadataVersion,
  PATCH_ENTRY,
} from './metadata-format.js';
import { sdkVersionText } from './sdk-release.js';
import { rowsWithoutEdmm } from './sgx1-layout.js';
import { signedFields } from './signed-fields.js';
import type { UnsignedSo } from './unsigned-so.js';
import { processorState } from './xsave.js';

/** Metadata that lacks its SIGSTRUCT. */
export interface MetadataPlan {
  readonly config: EnclaveConfig;
  readonly layout: LayoutPlan;
  /** What the SIGSTRUCT says, without ENCLAVEHASH and DATE. */
  readonly fields: Omit<SigstructFields, 'ENCLAVEHASH' | 'DATE'>;
  /** The blocks in file order, their enclave_css zero. */
  readonly blocks: readonly Uint8Array[];
  readonly versions: readonly MetadataVersion[];
  /** Where each block has the css_key_t of FIPS mode, if it is on. */
  readonly fipsOffset: number | null;
}

/** Versions of blocks with an ELRANGE have ten added to their major number. */
const ELRANGE_GAP = 10;

/**
 * Plans the metadata of an enclave. Throws the errors of `planLayout`, and SIGN_METADATA_ROOM when the file reserves
 * too little.
 */
export function planMetadata(so: UnsignedSo, config: EnclaveConfig, maxEnclaveBytes: number): MetadataPlan {
  const { values } = config;
  const { fields, attributes } = signedFields(values, so.release);
  const gap = values.ELRangeSize === 0n ? 0 : ELRANGE_GAP;
  const sgx2: MetadataVersion = { major: 3 + gap, minor: so.release.minor.sgx2 };
  const sgx1: MetadataVersion = { major: 1 + gap, minor: so.release.minor.sgx1 };
  const state = processorState(attributes.XFRM);
  const fips = values.EnableIPPFIPS === 1n;
  if (fips && !so.release.fipsField)
    throw new NsgxError(
      'SIGN_CONFIG_ELEMENT',
      `EnableIPPFIPS is 1, which the SDK ${sdkVersionText(so.release.version)} does not know`,
      { advice: 'Build the enclave with the SDK 2.25 or later.' },
    );
  const fipsOffset = dataOffset(sgx2) + (gap === 0 ? 0 : ELRANGE_CONFIG_ENTRY.size) + EXTEND_ENTRY.size;
  const tcsOffset = fips ? fipsOffset + CSS_KEY.size : fipsOffset - EXTEND_ENTRY.size;
  const layout = planLayout(so, config, attributes, state, tcsOffset, maxEnclaveBytes);
  const block = (version: MetadataVersion, rows: readonly LayoutRow[]): Uint8Array =>
    blockBytes(so, config, layout, attributes, version, rows);
  const versions: MetadataVersion[] = [];
  const blocks: Uint8Array[] = [];
  if (layout.loaders.sgx2) {
    versions.push(sgx2);
    blocks.push(block(sgx2, layout.rows));
  }
  if (layout.loaders.sgx1) {
    versions.push(sgx1);
    blocks.push(block(sgx1, rowsWithoutEdmm(layout.rows, Number(values.TCSNum))));
  }
  const size = blocks.reduce((sum, { length }) => sum + length, 0);
  if (size > so.metadataRoom)
    throw new NsgxError(
      'SIGN_METADATA_ROOM',
      `the metadata needs ${size} bytes, the note of .note.sgxmeta reserves ${so.metadataRoom}`,
      { advice: `Reserve ${so.release.metadataSize} bytes, as the SDK's libraries do, and link again.` },
    );
  return { config, layout, fields, blocks, versions, fipsOffset: fips ? fipsOffset : null };
}

/** A copy of the file with these blocks, each with the SIGSTRUCT (and css_key_t), where its note reserves room. */
export function fileWithMetadata(
  file: Uint8Array,
  so: UnsignedSo,
  plan: MetadataPlan,
  sigstruct: Uint8Array,
  fipsSignature?: Uint8Array,
): Uint8Array {
  const out = copyBytes(file);
  const room = Math.min(so.metadataRoom, so.release.metadataSize);
  out.fill(0, so.metadataOffset, so.metadataOffset + room);
  let at = so.metadataOffset;
  for (const block of plan.blocks) {
    out.set(block, at);
    out.set(sigstruct, at + METADATA.offsets.enclave_css);
    if (plan.fipsOffset !== null && fipsSignature !== undefined) out.set(fipsSignature, at + plan.fipsOffset);
    at += block.length;
  }
  return out;
}

/** Where the data of a block begin: behind as many directories as its version has. */
function dataOffset(version: MetadataVersion): number {
  return METADATA.offsets.dirs + 8 * (hasExtend(version) ? 4 : hasElrange(version) ? 3 : 2);
}

/** One block: ELRANGE, signature of FIPS mode, TCS template, g_global_data, zeros, table of patches, table of ranges. */
function blockBytes(
  so: UnsignedSo,
  config: EnclaveConfig,
  layout: LayoutPlan,
  attributes: Attributes,
  version: MetadataVersion,
  rows: readonly LayoutRow[],
): Uint8Array {
  const { values } = config;
  const start = dataOffset(version);
  const parts: Uint8Array[] = [];
  const dirs = Array.from({ length: DIR_NUM }, () => ({ offset: 0, size: 0 }));
  let size = start;
  const append = (part: Uint8Array): number => {
    parts.push(part);
    size += part.length;
    return size - part.length;
  };
  const directory = (index: number, entries: readonly Uint8Array[]): void => {
    const offset = size;
    for (const entry of entries) append(entry);
    dirs[index] = { offset, size: size - offset };
  };
  if (values.ELRangeSize !== 0n)
    directory(DIR_ELRANGE, [
      ELRANGE_CONFIG_ENTRY.encode({
        enclave_image_address: values.EnclaveImageAddress,
        elrange_start_address: values.ELRangeStartAddress,
        elrange_size: values.ELRangeSize,
      }),
    ]);
  if (values.EnableIPPFIPS === 1n) {
    const offset = size + EXTEND_ENTRY.size;
    const entry = { entry_id: EXTEND_ENTRY_ID_FIPS_SIG, size: CSS_KEY.size, offset };
    directory(DIR_EXTEND, [EXTEND_ENTRY.encode(entry)]);
    append(new Uint8Array(CSS_KEY.size));
  }
  append(layout.tcsTemplate);
  const data = globalData(so, config, layout);
  const src = append(data);
  // The loader does not need section headers; without them stripping an enclave leaves its measurement alone.
  const zeros = append(new Uint8Array(8));
  const { e_shnum, e_shoff, e_shstrndx } = ELF64_EHDR.offsets;
  const patches = [
    { dst: BigInt(so.globalDataOffset), src, size: data.length },
    { dst: BigInt(e_shnum), src: zeros, size: 2 },
    { dst: BigInt(e_shoff), src: zeros, size: 8 },
    { dst: BigInt(e_shstrndx), src: zeros, size: 2 },
  ];
  directory(
    DIR_PATCH,
    patches.map((patch) => PATCH_ENTRY.encode(patch)),
  );
  directory(DIR_LAYOUT, layoutBytes(rows));
  const out = new Uint8Array(size);
  const head = METADATA.encode({
    magic_num: METADATA_MAGIC,
    version: (BigInt(version.major) << 32n) | BigInt(version.minor),
    size,
    tcs_policy: Number(values.TCSPolicy),
    ssa_frame_size: layout.state.ssaFrameSize,
    max_save_buffer_size: layout.state.xsaveSize,
    desired_misc_select: so.release.desiredMiscSelect ? Number(values.MiscSelect) : 0,
    tcs_min_pool: Number(values.TCSMinPool),
    enclave_size: layout.enclaveSize,
    attributes,
    dirs,
  });
  out.set(head.subarray(0, start));
  let at = start;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
