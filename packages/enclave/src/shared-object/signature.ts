/** The signature inside NAME.so and NAME.signed.so. Source: Intel SGX SDK for Linux, metadata.h (enclave_css). */
import { IntelImage, METADATA, parseSignedSo } from '@nestedsgx/image';
import { readElf } from '../elf.js';
import { LAYOUT_SECTION } from '../layout.js';

/** Whether a file was linked with this project's runtime: its metadata are complete but for the signature. */
export function isBuiltSharedObject(bytes: Uint8Array): boolean {
  try {
    return readElf(bytes).sections.some(({ name }) => name === LAYOUT_SECTION);
  } catch {
    return false;
  }
}

/** The file with a SIGSTRUCT (1808 bytes) in the place of the one it has. Throws the errors of `parseSignedSo`. */
export function withSigstruct(bytes: Uint8Array, sigstruct: Uint8Array): Uint8Array {
  const { source } = new IntelImage(parseSignedSo(bytes));
  const signed = bytes.slice();
  signed.set(sigstruct, source.chosen.fileOffset + METADATA.offsets.enclave_css);
  return signed;
}
