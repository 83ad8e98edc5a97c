/** Writing SGXS. Source: Fortanix, "SGX Stream format"; Intel SDM Vol. 3D, operation of ECREATE, EADD, EEXTEND. */
import { NsgxError, PT_REG, PT_TCS, writeU32 } from '@nestedsgx/arch';
import type { EnclaveImage, PageRun } from '../image.js';
import { BLOCK, CHUNK, DEFAULT_SGXS_LIMITS, PAGE, PAGE_RECORD, TAG } from './format.js';

/** Pages that are laid out before they are handed to the sink. */
const PAGES_AT_ONCE = 64;

/** The enclave that a writer describes. */
export interface SgxsLayout {
  /** SECS.SIZE in bytes: a power of two, at least two pages. */
  readonly size: number;
  /** SECS.SSAFRAMESIZE in pages. */
  readonly ssaFrameSize: number;
}

function wrong(message: string): NsgxError {
  return new NsgxError('IMAGE_LAYOUT', message);
}

/**
 * Writes an SGXS stream piece by piece; pages must come in ascending order. The bytes given to the sink are
 * valid during the call only.
 *
 * Throws IMAGE_LAYOUT for a size, page or run that no enclave can have.
 */
export class SgxsWriter {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #size: number;
  readonly #out = new Uint8Array(PAGES_AT_ONCE * PAGE_RECORD);
  #at = 0;
  #next = 0;
  #written = 0;

  constructor(layout: SgxsLayout, sink: (bytes: Uint8Array) => void) {
    const { size, ssaFrameSize } = layout;
    if (!Number.isInteger(Math.log2(size)) || size < 2 * PAGE || size > DEFAULT_SGXS_LIMITS.maxEnclaveBytes) {
      throw wrong(`SIZE ${size} is not a power of two from two pages to 64 GiB`);
    }
    if (
      !Number.isInteger(ssaFrameSize) ||
      ssaFrameSize < 1 ||
      ssaFrameSize > DEFAULT_SGXS_LIMITS.maxSsaFrameSize
    ) {
      throw wrong(`SSAFRAMESIZE ${ssaFrameSize} is not in 1…${DEFAULT_SGXS_LIMITS.maxSsaFrameSize}`);
    }
    this.#sink = sink;
    this.#size = size;
    const at = this.#block(TAG.ECREATE, 0);
    writeU32(this.#out, at + 8, ssaFrameSize);
    writeU32(this.#out, at + 12, size % 2 ** 32);
    writeU32(this.#out, at + 16, Math.floor(size / 2 ** 32));
  }

  /** Adds a run of pages. Chunks of an unmeasured page that are zero are left out. */
  addPages(run: PageRun): void {
    const { offset, secinfoFlags: flags, data, measured } = run;
    if (!Number.isInteger(offset) || offset % PAGE !== 0 || offset < this.#next) {
      throw wrong(`page offset ${offset} is misaligned or not after the page before it`);
    }
    if (data.length === 0 || data.length % PAGE !== 0)
      throw wrong(`a run has n*4096 bytes, not ${data.length}`);
    if (offset + data.length > this.#size) throw wrong(`the run at ${offset} ends outside the enclave`);
    const type = flags >> 8;
    const permissions = flags & 0xff;
    const allowed =
      type === PT_TCS ? permissions === 0 : type === PT_REG && permissions < 8 && (permissions & 3) !== 2;
    if (!allowed) throw wrong(`SECINFO flags 0x${flags.toString(16)} cannot be added`);
    for (let from = 0; from < data.length; from += PAGE) {
      if (this.#at + PAGE_RECORD > this.#out.length) this.#flush();
      const eadd = this.#block(TAG.EADD, offset + from);
      writeU32(this.#out, eadd + 16, flags);
      this.#chunks(offset + from, data.subarray(from, from + PAGE), measured);
    }
    this.#next = offset + data.length;
  }

  /** Hands out what is left. Returns the length of the whole stream in bytes. */
  finish(): number {
    this.#flush();
    return this.#written;
  }

  #chunks(page: number, data: Uint8Array, measured: boolean): void {
    const tag = measured ? TAG.EEXTEND : TAG.UNMEASRD;
    for (let c = 0; c < PAGE; c += CHUNK) {
      const chunk = data.subarray(c, c + CHUNK);
      if (!measured && chunk.every((b) => b === 0)) continue;
      this.#block(tag, page + c);
      this.#out.set(chunk, this.#at);
      this.#at += CHUNK;
    }
  }

  #block(tag: Uint8Array, offset: number): number {
    const at = this.#at;
    this.#out.fill(0, at, at + BLOCK);
    this.#out.set(tag, at);
    writeU32(this.#out, at + 8, offset % 2 ** 32);
    writeU32(this.#out, at + 12, Math.floor(offset / 2 ** 32));
    this.#at += BLOCK;
    return at;
  }

  #flush(): void {
    if (this.#at === 0) return;
    this.#written += this.#at;
    this.#sink(this.#out.subarray(0, this.#at));
    this.#at = 0;
  }
}

/** The SGXS bytes of an enclave given as its layout and runs of pages (ascending). Throws IMAGE_LAYOUT. */
export function writeSgxs(layout: SgxsLayout & { readonly pages: Iterable<PageRun> }): Uint8Array {
  const parts: Uint8Array[] = [];
  const writer = new SgxsWriter(layout, (b) => parts.push(b.slice()));
  for (const run of layout.pages) writer.addPages(run);
  const out = new Uint8Array(writer.finish());
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The SGXS bytes of any image. */
export function imageToSgxs(image: EnclaveImage): Uint8Array {
  return writeSgxs({ size: image.size, ssaFrameSize: image.ssaFrameSize, pages: image.pages() });
}
