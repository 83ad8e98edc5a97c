/** Image files: NAME.sgxs, NAME.sig (a raw SIGSTRUCT), NAME.json (the description; not measured). */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { NsgxError, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { DEFAULT_SGXS_LIMITS, type SgxsLimits } from '../sgxs/format.js';
import { SgxsImage } from '../sgxs/read.js';
import type { ByteSource, SourceOpener } from '../sgxs/source.js';

/** Limits on image files. */
export interface ImageFileLimits extends SgxsLimits {
  /** Largest NAME.json in bytes. */
  readonly maxDescriptionBytes: number;
}

/** 8 GiB of image, 1 MiB of description. */
export const DEFAULT_IMAGE_FILE_LIMITS: ImageFileLimits = Object.freeze({
  ...DEFAULT_SGXS_LIMITS,
  maxDescriptionBytes: 1024 * 1024,
});

/** Without O_NONBLOCK the opening of a FIFO would wait for a writer. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;
/** Signature files above this are not even read; their exact length is checked afterwards. */
const MAX_SIGNATURE_FILE = 64 * 1024;

/** The paths of an image's files. */
export interface ImageFilePaths {
  readonly sgxs: string;
  readonly sig?: string;
  readonly json?: string;
}

/** Where the files of an image lie, from the path of its `.sgxs` (or its NAME alone). */
export function imageFilePaths(path: string): Required<ImageFilePaths> {
  const name = path.endsWith('.sgxs') ? path.slice(0, -'.sgxs'.length) : path;
  return { sgxs: `${name}.sgxs`, sig: `${name}.sig`, json: `${name}.json` };
}

function fileError(path: string, cause: unknown): NsgxError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
  return new NsgxError('IMAGE_FILE', `${path} cannot be read (${code})`, {
    cause,
    advice: 'Check the path; an image is NAME.sgxs with NAME.sig and NAME.json beside it.',
  });
}

/** A file as a source that is opened for each pass and must stay the same file with the same contents. */
export function fileSource(path: string): SourceOpener {
  let first: Stats | null = null;
  return {
    open() {
      let fd: number;
      try {
        fd = openSync(path, READ_FLAGS);
      } catch (cause) {
        throw fileError(path, cause);
      }
      try {
        const stat = fstatSync(fd);
        if (!stat.isFile()) throw new NsgxError('IMAGE_FILE', `${path} is not a regular file`);
        first ??= stat;
        if (
          stat.ino !== first.ino ||
          stat.dev !== first.dev ||
          stat.size !== first.size ||
          stat.mtimeMs !== first.mtimeMs
        ) {
          throw changed(path);
        }
        return { source: new FileSource(path, fd, stat.size), close: () => closeSync(fd) };
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    },
  };
}

function changed(path: string): NsgxError {
  return new NsgxError('IMAGE_CHANGED', `${path} changed while it was in use`, {
    advice: 'Load the image again.',
  });
}

class FileSource implements ByteSource {
  readonly length: number;
  readonly #path: string;
  readonly #fd: number;

  constructor(path: string, fd: number, length: number) {
    this.#path = path;
    this.#fd = fd;
    this.length = length;
  }

  readInto(into: Uint8Array, offset: number): void {
    for (let done = 0; done < into.length; ) {
      let n: number;
      try {
        n = readSync(this.#fd, into, done, into.length - done, offset + done);
      } catch (cause) {
        throw fileError(this.#path, cause);
      }
      if (n === 0) throw changed(this.#path);
      done += n;
    }
  }
}

/** The bytes of a small file, or null when it does not exist. Throws IMAGE_FILE, IMAGE_TOO_LARGE. */
function readSmall(path: string, maxBytes: number): Uint8Array | null {
  let fd: number;
  try {
    fd = openSync(path, READ_FLAGS);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw fileError(path, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new NsgxError('IMAGE_FILE', `${path} is not a regular file`);
    if (stat.size > maxBytes) {
      throw new NsgxError('IMAGE_TOO_LARGE', `${path} has ${stat.size} bytes, more than ${maxBytes}`);
    }
    const bytes = new Uint8Array(stat.size);
    new FileSource(path, fd, stat.size).readInto(bytes, 0);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

function parseDescription(path: string, bytes: Uint8Array): unknown {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new NsgxError('IMAGE_DESCRIPTION', `${path} is not JSON`, {
      cause,
      advice: 'Build the image again.',
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new NsgxError('IMAGE_DESCRIPTION', `${path} is not a JSON object`, {
      advice: 'Build the image again.',
    });
  }
  return value;
}

/**
 * Opens an image by path (`NAME.sgxs` or `NAME`) or by the paths of its files. The pages stay in the file
 * and are read through a window of a few MiB when they are asked for; a signature or description that does
 * not exist beside NAME.sgxs is left out, one that was named must exist. `verify: true` measures the image
 * and compares it with the signature.
 *
 * Throws IMAGE_FILE, IMAGE_TOO_LARGE, IMAGE_DESCRIPTION, IMAGE_SIGNATURE_FILE, IMAGE_SIGNATURE_MISMATCH and the errors of `readSgxs`.
 */
export function loadImageFiles(
  path: string | ImageFilePaths,
  options: { readonly limits?: Partial<ImageFileLimits>; readonly verify?: boolean } = {},
): SgxsImage {
  const limits = { ...DEFAULT_IMAGE_FILE_LIMITS, ...options.limits };
  const named = typeof path === 'string' ? undefined : path;
  const paths = typeof path === 'string' ? imageFilePaths(path) : path;
  const sig = paths.sig === undefined ? null : readSmall(paths.sig, MAX_SIGNATURE_FILE);
  const json = paths.json === undefined ? null : readSmall(paths.json, limits.maxDescriptionBytes);
  if (named?.sig !== undefined && sig === null) throw fileError(named.sig, { code: 'ENOENT' });
  if (named?.json !== undefined && json === null) throw fileError(named.json, { code: 'ENOENT' });
  const image = new SgxsImage(fileSource(paths.sgxs), {
    limits,
    ...(sig === null ? {} : { sigstruct: sig }),
    ...(json === null ? {} : { description: parseDescription(paths.json!, json) }),
  });
  if (options.verify === true && sig !== null) {
    const signed = SIGSTRUCT.decode(sig).ENCLAVEHASH;
    if (!Buffer.from(image.mrenclave(nodeHash)).equals(signed)) {
      throw new NsgxError(
        'IMAGE_SIGNATURE_MISMATCH',
        `${paths.sig} signs another enclave than ${paths.sgxs}`,
        {
          advice: 'Sign the image again with `nsgx sign`.',
        },
      );
    }
  }
  return image;
}
