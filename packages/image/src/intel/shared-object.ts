/**
 * The second shared object of an enclave (an OpenSSL FIPS provider), which lies behind the first in the file.
 * Source: Intel SGX SDK for Linux 2.26, metadata.h (extend_entry_shared_object_t), psw/urts/loader.cpp.
 */
import { NsgxError } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import { type ElfFile, type ElfSegment, parseElf } from './elf.js';
import type { MetadataBlock } from './metadata.js';
import { METADATA_SECTION } from './metadata-format.js';
import { relocationTables } from './relocation-pages.js';

/**
 * PT_LOADs of the second shared object, placed in file and image; none without one. Whether they collide with the
 * layout is seen when pages are planned. Throws IMAGE_METADATA (the entry), IMAGE_ELF, IMAGE_TRUNCATED.
 */
export function sharedObjectSegments(
  file: Uint8Array,
  elf: ElfFile,
  block: MetadataBlock,
): readonly ElfSegment[] {
  if (block.sharedObject === null) return [];
  const { file_offset, mem_offset, size } = block.sharedObject;
  const bad = (field: string, value: bigint, why: string): NsgxError =>
    damaged('IMAGE_METADATA', `extend_entry_shared_object_t.${field} is 0x${value.toString(16)}${why}`);
  const length = BigInt(file.length);
  if (file_offset > length) throw bad('file_offset', file_offset, `, the file has ${file.length} bytes`);
  if (size > length - file_offset) throw bad('size', size, `: it ends after the file's ${file.length} bytes`);
  if (mem_offset % BigInt(PAGE) !== 0n) throw bad('mem_offset', mem_offset, ', not a multiple of 0x1000');
  if (mem_offset >= block.metadata.enclave_size) throw bad('mem_offset', mem_offset, ', beyond enclave_size');
  const end = Math.max(...elf.segments.map(({ rva, memorySize }) => rva + memorySize));
  if (mem_offset < BigInt(end))
    throw bad('mem_offset', mem_offset, `: the enclave's segments end at ${hex(end)}`);
  const at = Number(file_offset);
  const second = readSecond(file.subarray(at, at + Number(size)), Number(block.metadata.enclave_size));
  return second.segments.map((segment) => ({
    ...segment,
    fileOffset: segment.fileOffset + at,
    rva: segment.rva + Number(mem_offset),
  }));
}

function readSecond(bytes: Uint8Array, maxBytes: number): ElfFile {
  try {
    const second = parseElf(bytes, METADATA_SECTION, maxBytes);
    if (second.dynamic.size === 0) throw damaged('IMAGE_ELF', 'it has no dynamic section');
    if (second.tls !== null) throw damaged('IMAGE_ELF', 'it has PT_TLS, for which threads have no room');
    relocationTables(second);
    return second;
  } catch (cause) {
    if (!(cause instanceof NsgxError)) throw cause;
    throw new NsgxError(cause.code, `the second shared object: ${cause.message}`, {
      cause,
      advice: 'Sign the enclave again with the whole, unchanged provider file.',
    });
  }
}
