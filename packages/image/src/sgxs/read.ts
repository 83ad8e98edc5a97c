/** SGXS images as {@link EnclaveImage}. Source: Fortanix, "SGX Stream format"; Intel SDM Vol. 3D, ECREATE, EADD, EEXTEND. */
import {
  ATTRIBUTES_MODE64BIT,
  type Attributes,
  type HashProvider,
  SIGSTRUCT,
  type Sigstruct,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import type { EnclaveImage, PageRun, PagesOptions } from '../image.js';
import { parseSigstructFile } from '../sign/sigstruct-file.js';
import { DEFAULT_SGXS_LIMITS, type SgxsLimits } from './format.js';
import { readSgxsHeader } from './header.js';
import { memorySource, type SourceOpener } from './source.js';
import { walkSgxs } from './walk.js';
import type { SgxsTotals } from './walker.js';

/** What belongs to an image beside its pages, and the limits. */
export interface SgxsOptions {
  readonly limits?: Partial<SgxsLimits>;
  /** The SIGSTRUCT (1808 bytes). */
  readonly sigstruct?: Uint8Array;
  readonly description?: unknown;
}

/** An enclave in SGXS form, over memory or a file. */
export class SgxsImage implements EnclaveImage {
  readonly format = 'sgxs';
  readonly size: number;
  readonly ssaFrameSize: number;
  readonly miscselect: number;
  readonly attributes: Attributes;
  readonly sigstruct?: Uint8Array;
  readonly description?: unknown;
  readonly #opener: SourceOpener;
  readonly #limits: SgxsLimits;
  #totals: SgxsTotals | null = null;

  /** Reads the header only; the pages are checked whenever they are read. Throws the IMAGE_* errors of the header. */
  constructor(opener: SourceOpener, options: SgxsOptions = {}) {
    this.#opener = opener;
    this.#limits = { ...DEFAULT_SGXS_LIMITS, ...options.limits };
    const opened = opener.open();
    try {
      const header = readSgxsHeader(opened.source, this.#limits);
      this.size = header.size;
      this.ssaFrameSize = header.ssaFrameSize;
    } finally {
      opened.close();
    }
    const signed: Sigstruct | undefined =
      options.sigstruct === undefined ? undefined : SIGSTRUCT.decode(parseSigstructFile(options.sigstruct));
    this.miscselect = signed?.MISCSELECT ?? 0;
    this.attributes = signed?.ATTRIBUTES ?? { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: XFRM_LEGACY };
    if (options.sigstruct !== undefined) this.sigstruct = options.sigstruct.slice();
    if (options.description !== undefined) this.description = options.description;
  }

  get tcs(): number {
    return this.totals().tcs;
  }

  /** Counts of pages, measured pages and TCSs; checks the whole image unless that was done before. */
  totals(): Readonly<SgxsTotals> {
    if (this.#totals === null) for (const _ of this.#walk({ buffer: null }));
    return this.#totals!;
  }

  pages(options: PagesOptions = {}): Iterable<PageRun> {
    return { [Symbol.iterator]: () => this.#walk({ buffer: options.buffer }) };
  }

  /** MRENCLAVE (32 bytes): SHA-256 of the measured stream. Checks the whole image. */
  mrenclave(hash: HashProvider): Uint8Array {
    const running = hash.sha256();
    for (const _ of this.#walk({ buffer: null, hash: running }));
    return running.digest();
  }

  *#walk(options: Parameters<typeof walkSgxs>[2]): Generator<PageRun, void, undefined> {
    const totals: SgxsTotals = { pages: 0, measuredPages: 0, tcs: 0 };
    const opened = this.#opener.open();
    try {
      yield* walkSgxs(opened.source, this.#limits, { ...options, totals });
      this.#totals = totals;
    } finally {
      opened.close();
    }
  }
}

/**
 * An SGXS image over bytes in memory (not copied: do not change them while the image is in use). The whole
 * image is checked at once. Throws IMAGE_TRUNCATED, IMAGE_TAG, IMAGE_ECREATE, IMAGE_EADD, IMAGE_SECINFO,
 * IMAGE_CHUNK, IMAGE_DUPLICATE_PAGE, IMAGE_PARTLY_MEASURED, IMAGE_TOO_LARGE, IMAGE_SIGNATURE_FILE.
 */
export function readSgxs(bytes: Uint8Array, options: SgxsOptions = {}): SgxsImage {
  const image = new SgxsImage(memorySource(bytes), options);
  image.totals();
  return image;
}
