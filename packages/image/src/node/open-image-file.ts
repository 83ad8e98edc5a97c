/** An image file in whatever format its first bytes say. */
import { statSync } from 'node:fs';
import type { EnclaveImage } from '../image.js';
import { isElf } from '../intel/elf.js';
import { type IntelImage, loadSignedSo } from '../intel/intel-image.js';
import type { SignedSoOptions } from '../intel/signed-so.js';
import { fileSource, loadImageFiles } from './files.js';
import { readSharedObjectFile } from './sign-shared-object.js';

/** Whether a regular file at that path begins with the ELF magic. Throws IMAGE_FILE when it cannot be read. */
export function isElfFile(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  const opened = fileSource(path).open();
  try {
    const magic = new Uint8Array(4);
    if (opened.source.length < 4) return false;
    opened.source.readInto(magic, 0);
    return isElf(magic);
  } finally {
    opened.close();
  }
}

/** Reads and checks a `.signed.so` file. Throws IMAGE_FILE, IMAGE_TOO_LARGE and the errors of `loadSignedSo`. */
export function loadSignedSoFile(path: string, options: SignedSoOptions = {}): IntelImage {
  return loadSignedSo(readSharedObjectFile(path, options.limits), options);
}

/**
 * Opens NAME.signed.so (any file with the ELF magic) or NAME.sgxs with what lies beside it. Throws IMAGE_FILE and the
 * errors of `loadSignedSoFile` and `loadImageFiles`.
 */
export function openImageFile(path: string, options: Pick<SignedSoOptions, 'edmm'> = {}): EnclaveImage {
  return isElfFile(path) ? loadSignedSoFile(path, options) : loadImageFiles(path);
}
