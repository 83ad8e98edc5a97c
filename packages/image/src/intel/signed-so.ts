/** Intel's `.signed.so`: an ELF shared object with metadata. Source: Intel SGX SDK for Linux, metadata.h. */
import { NsgxError } from '@nestedsgx/arch';
import { damaged } from '../sgxs/damage.js';
import { type ElfFile, type ElfSegment, parseElf } from './elf.js';
import { expandLayout, type LayoutRange } from './layout.js';
import { DEFAULT_SIGNED_SO_LIMITS, type SignedSoLimits } from './limits.js';
import { chooseMetadata, type MetadataBlock, readMetadataBlocks } from './metadata.js';
import { METADATA_SECTION } from './metadata-format.js';
import { relocationPages } from './relocation-pages.js';
import { sharedObjectSegments } from './shared-object.js';
import { isEncryptedBuild, isSimulationBuild } from './simulation.js';

/** How a `.signed.so` is read. */
export interface SignedSoOptions {
  /** Whether the machine has dynamic memory (EDMM), so that metadata 3.x is used. Default true. */
  readonly edmm?: boolean;
  readonly limits?: Partial<SignedSoLimits>;
}

/** A parsed `.signed.so`. */
export interface SignedSo {
  readonly elf: ElfFile;
  /** PT_LOADs of a second shared object (an OpenSSL FIPS provider), placed in file and image. */
  readonly secondSegments: readonly ElfSegment[];
  /** Every metadata block of the file, in file order. */
  readonly blocks: readonly MetadataBlock[];
  /** The block that is used. */
  readonly chosen: MetadataBlock;
  /** The chosen block's layout with groups repeated, in loading order. */
  readonly layout: readonly LayoutRange[];
  /** Pages (numbers) of read-only segments that become writable because relocation writes to them. */
  readonly relocationPages: ReadonlySet<number>;
  /** Built for simulation (SGX_MODE=SIM): no processor with SGX runs it. */
  readonly simulation: boolean;
  /** Encrypted for the protected code loader: its runtime needs a sealed key to start. */
  readonly encrypted: boolean;
  /** A copy of the file with the chosen block's patches applied: what is loaded and measured. */
  readonly patched: Uint8Array;
}

/**
 * Reads and checks a `.signed.so` (the bytes are copied first). The signature itself is not verified.
 *
 * Throws IMAGE_TOO_LARGE, IMAGE_TRUNCATED, IMAGE_ELF, IMAGE_METADATA, IMAGE_METADATA_VERSION,
 * IMAGE_METADATA_LAYOUT, IMAGE_METADATA_PATCH; messages name the structure, the field and its value.
 */
export function parseSignedSo(bytes: Uint8Array, options: SignedSoOptions = {}): SignedSo {
  const limits = { ...DEFAULT_SIGNED_SO_LIMITS, ...options.limits };
  if (bytes.length > limits.maxFileBytes)
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the file has ${bytes.length} bytes, more than ${limits.maxFileBytes}`,
    );
  const patched = new Uint8Array(bytes);
  const elf = parseElf(patched, METADATA_SECTION, limits.maxEnclaveBytes);
  if (elf.section === null)
    throw new NsgxError('IMAGE_METADATA', `the file has no section ${METADATA_SECTION}`, {
      advice: 'Link the enclave as the SDK does, sign it with `nsgx sign`, and give the .signed.so file.',
    });
  const blocks = readMetadataBlocks(patched, elf.section, limits);
  const chosen = chooseMetadata(blocks, options.edmm ?? true);
  const layout = expandLayout(chosen);
  // Before patching: what is loaded has no section headers.
  const simulation = isSimulationBuild(patched);
  const encrypted = isEncryptedBuild(patched);
  const pages = relocationPages(patched, elf, limits.maxEnclaveBytes);
  applyPatches(patched, chosen);
  const secondSegments = sharedObjectSegments(patched, elf, chosen);
  return {
    elf,
    secondSegments,
    blocks,
    chosen,
    layout,
    relocationPages: pages,
    simulation,
    encrypted,
    patched,
  };
}

/** Copies patch sources (from the metadata block) over the file, in order. Throws IMAGE_METADATA_PATCH. */
function applyPatches(file: Uint8Array, block: MetadataBlock): void {
  block.patches.forEach(({ dst, src, size }, i) => {
    if (src + size > block.bytes.length)
      throw damaged(
        'IMAGE_METADATA_PATCH',
        `patch_entry_t ${i}: src is 0x${src.toString(16)} with ${size} bytes, outside of the metadata block`,
      );
    if (dst + BigInt(size) > BigInt(file.length))
      throw damaged(
        'IMAGE_METADATA_PATCH',
        `patch_entry_t ${i}: dst is 0x${dst.toString(16)} with ${size} bytes, outside of the file`,
      );
    file.set(block.bytes.subarray(src, src + size), Number(dst));
  });
}
