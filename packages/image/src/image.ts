/** What every enclave image offers, whatever its file format. */
import type { Attributes } from '@nestedsgx/arch';

/** Contiguous pages with the same SECINFO that are all measured or all not. */
export interface PageRun {
  /** Offset of the first page from BASEADDR, in bytes. */
  readonly offset: number;
  /** SECINFO.FLAGS bits 15:0: R, W, X and the page type << 8. */
  readonly secinfoFlags: number;
  /** n*4096 bytes. */
  readonly data: Uint8Array;
  /** Whether EEXTEND follows EADD for every 256-byte chunk. */
  readonly measured: boolean;
}

/** How {@link EnclaveImage.pages} delivers. */
export interface PagesOptions {
  /**
   * Where each run's bytes are laid (at least 4096 bytes; guest memory, for example, which saves a copy). A
   * run is then valid until the next one is asked for. Without it every run has memory of its own.
   */
  readonly buffer?: Uint8Array;
}

/** An enclave as a loader sees it. */
export interface EnclaveImage {
  readonly format: 'sgxs' | 'intel';
  /** SECS.SIZE in bytes. */
  readonly size: number;
  /** SECS.SSAFRAMESIZE in pages. */
  readonly ssaFrameSize: number;
  /** SECS.MISCSELECT: the signature's, else 0. */
  readonly miscselect: number;
  /** SECS.ATTRIBUTES: the signature's, else MODE64BIT with x87 and SSE. */
  readonly attributes: Attributes;
  /** How many pages are TCSs (found by one pass over the image, unless a pass was made already). */
  readonly tcs: number;
  /** The 1808 bytes of the SIGSTRUCT, when the image is signed. */
  readonly sigstruct?: Uint8Array;
  /** The parsed description (NAME.json), which is not measured. */
  readonly description?: unknown;
  /** The pages in the order in which they are added and measured. Throws the format's errors when damaged. */
  pages(options?: PagesOptions): Iterable<PageRun>;
}
