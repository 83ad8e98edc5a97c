/** What `cvm.load` accepts as an image, made uniform. */
import { readFileSync, statSync } from 'node:fs';
import { NsgxError, SIGSTRUCT } from '@nestedsgx/arch';
import type { EnclaveImage } from '@nestedsgx/image';
import { isElfFile, loadImageFiles, loadSignedSoFile } from '@nestedsgx/image/node';
import { sdkError } from './errors.js';

/** An image given by parts: `sgxs` and `sig` are paths or (sig only) bytes; `description` is a path or a parsed object. */
export interface ImageParts {
  sgxs: string | EnclaveImage;
  sig?: string | Uint8Array;
  description?: string | object;
}

/** Path of NAME.sgxs (or NAME) or NAME.signed.so, an image in memory, or its parts. */
export type ImageInput = string | EnclaveImage | ImageParts;

/** An image ready to be loaded. */
export interface LoadableImage {
  image: EnclaveImage;
  sigstruct: Uint8Array;
  description: unknown;
}

/**
 * Opens an image. `edmm`: the enclave will have dynamic memory, so a `.signed.so` that was signed for it is read that way.
 * @throws IMAGE_FILES_MISSING, IMAGE_UNSIGNED, and the errors of package image
 */
export function openImage(input: ImageInput, edmm = false): LoadableImage {
  let image: EnclaveImage;
  let sigstruct: Uint8Array | undefined;
  let description: unknown;
  if (typeof input === 'string') image = openFiles(input, edmm);
  else if (isImage(input)) image = input;
  else {
    image = typeof input.sgxs === 'string' ? openFiles(input.sgxs, edmm) : input.sgxs;
    sigstruct = typeof input.sig === 'string' ? readSmall(input.sig) : input.sig;
    description = typeof input.description === 'string' ? readJson(input.description) : input.description;
  }
  sigstruct ??= image.sigstruct;
  if (sigstruct === undefined)
    throw sdkError(
      'IMAGE_UNSIGNED',
      typeof input === 'string' ? `${input} has no signature beside it` : 'the image has no signature',
      'sign it: nsgx sign IMAGE --key KEY.pem',
    );
  if (sigstruct.length !== SIGSTRUCT.size)
    throw sdkError(
      'IMAGE_UNSIGNED',
      `the signature has ${sigstruct.length} bytes instead of ${SIGSTRUCT.size}`,
    );
  return { image, sigstruct, description: description ?? image.description };
}

function isImage(input: EnclaveImage | ImageParts): input is EnclaveImage {
  return typeof (input as EnclaveImage).pages === 'function';
}

function openFiles(path: string, edmm: boolean): EnclaveImage {
  if (isElfFile(path)) return loadSignedSoFile(path, { edmm });
  try {
    if (!statSync(path.endsWith('.sgxs') ? path : `${path}.sgxs`).isFile()) throw new Error('not a file');
  } catch (cause) {
    throw sdkError(
      'IMAGE_FILES_MISSING',
      `there is no enclave image at ${path}`,
      'build one with `nsgx build`, or check the path',
      cause,
    );
  }
  return loadImageFiles(path);
}

function readSmall(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw sdkError('IMAGE_FILES_MISSING', `${path} cannot be read`, 'check the path', cause);
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(readSmall(path)));
  } catch (cause) {
    if (cause instanceof NsgxError) throw cause;
    throw sdkError('IMAGE_DESCRIPTION_INVALID', `${path} is not JSON`, 'build the enclave again', cause);
  }
}
