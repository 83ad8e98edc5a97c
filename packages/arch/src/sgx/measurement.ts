/**
 * MRENCLAVE: the SHA-256 over what ECREATE, EADD and EEXTEND did, in order.
 * Source: Intel SDM Vol. 3D, operation sections of ECREATE, EADD, EEXTEND, EINIT.
 *
 * Every update is a multiple of 64 bytes. Long runs of pages are laid out in one reusable buffer, whose
 * constant parts are written once, and hashed by few large calls.
 */
import { writeU32, writeU64 } from '../codec/field.js';
import { NsgxError } from '../errors.js';
import type { HashProvider, IncrementalHash } from '../hash/provider.js';

const PAGE = 4096;
const CHUNK = 256;
const BLOCK = 64;
/** One EADD block and sixteen EEXTENDs (a block and 256 bytes each). */
const MEASURED_PAGE = BLOCK + (PAGE / CHUNK) * (BLOCK + CHUNK);
/** Pages laid out at once: the buffer stays in the second-level cache while it is filled and hashed. */
const PAGES_AT_ONCE = 48;
/** Where the pages of one batch are staged, behind the stream. */
const STAGE = PAGES_AT_ONCE * MEASURED_PAGE;
const EADDS_AT_ONCE = 256;

const TAG_ECREATE = new Uint8Array([0x45, 0x43, 0x52, 0x45, 0x41, 0x54, 0x45, 0]);
const TAG_EADD = new Uint8Array([0x45, 0x41, 0x44, 0x44, 0, 0, 0, 0]);
const TAG_EEXTEND = new Uint8Array([0x45, 0x45, 0x58, 0x54, 0x45, 0x4e, 0x44, 0]);

/** Work space of all measurements: nothing in it outlives the call that uses it. */
let pagesBuffer: Uint8Array | null = null;
let eaddsBuffer: Uint8Array | null = null;

function misuse(message: string): NsgxError {
  return new NsgxError('MEASUREMENT_ARGUMENT', message);
}

/**
 * The measurement of one enclave under construction. Offsets are from BASEADDR, in bytes.
 *
 * Throws MEASUREMENT_ORDER when anything comes before `ecreate` or `ecreate` comes twice, and
 * MEASUREMENT_ARGUMENT for misaligned or wrongly sized operands.
 */
export class EnclaveMeasurement {
  readonly #hash: IncrementalHash;
  #created = false;
  readonly #block = new Uint8Array(BLOCK);

  constructor(hash: HashProvider) {
    this.#hash = hash.sha256();
  }

  /** ECREATE: "ECREATE\0", SSAFRAMESIZE (pages), SIZE (bytes). */
  ecreate(ssaFrameSize: number, size: bigint): void {
    if (this.#created) throw new NsgxError('MEASUREMENT_ORDER', 'ECREATE was measured already');
    this.#created = true;
    const block = this.#startBlock(TAG_ECREATE);
    writeU32(block, 8, ssaFrameSize);
    writeU64(block, 12, size);
    this.#hash.update(block);
  }

  /** EADD: page offset and the first 48 bytes of SECINFO (more may be passed). */
  eadd(offset: bigint, secinfo: Uint8Array): void {
    this.#checkCreated();
    checkPage(offset, secinfo);
    const block = this.#startBlock(TAG_EADD);
    writeU64(block, 8, offset);
    block.set(secinfo.subarray(0, 48), 16);
    this.#hash.update(block);
  }

  /** EEXTEND: chunk offset (multiple of 256) and the chunk's 256 bytes. */
  eextend(offset: bigint, chunk: Uint8Array): void {
    this.#checkCreated();
    if ((offset & 0xffn) !== 0n || chunk.length !== CHUNK) {
      throw misuse(
        `EEXTEND wants 256 bytes at a multiple of 256, not ${chunk.length} at 0x${offset.toString(16)}`,
      );
    }
    const block = this.#startBlock(TAG_EEXTEND);
    writeU64(block, 8, offset);
    this.#hash.update(block).update(chunk);
  }

  /** EADD of one 4096-byte page and, when `measured`, EEXTEND of its sixteen chunks. */
  addPage(offset: bigint, secinfo: Uint8Array, page: Uint8Array, measured: boolean): void {
    if (page.length !== PAGE) throw misuse(`a page has 4096 bytes, not ${page.length}`);
    this.addPages(offset, secinfo, page, measured);
  }

  /**
   * As `addPage` for each page of a contiguous run (n*4096 bytes, the same SECINFO). Costs little more than
   * one SHA-256 pass over the measured stream.
   */
  addPages(offset: bigint, secinfo: Uint8Array, pages: Uint8Array, measured: boolean): void {
    this.#checkCreated();
    checkPage(offset, secinfo);
    if (pages.length % PAGE !== 0) throw misuse(`a run of pages has n*4096 bytes, not ${pages.length}`);
    if (measured) this.#addMeasured(offset, secinfo, pages);
    else this.#addUnmeasured(offset, secinfo, pages.length / PAGE);
  }

  /** MRENCLAVE of what was measured so far (32 bytes); measuring may go on. */
  digest(): Uint8Array {
    return this.#hash.copy().digest();
  }

  #checkCreated(): void {
    if (!this.#created) throw new NsgxError('MEASUREMENT_ORDER', 'nothing can be measured before ECREATE');
  }

  #startBlock(tag: Uint8Array): Uint8Array {
    this.#block.fill(0);
    this.#block.set(tag);
    return this.#block;
  }

  #addUnmeasured(offset: bigint, secinfo: Uint8Array, count: number): void {
    eaddsBuffer ??= new Uint8Array(EADDS_AT_ONCE * BLOCK);
    const out = eaddsBuffer;
    const info = secinfo.subarray(0, 48);
    for (let done = 0; done < count; ) {
      const now = Math.min(EADDS_AT_ONCE, count - done);
      for (let i = 0; i < now; i++) {
        const at = i * BLOCK;
        out.set(TAG_EADD, at);
        writeU64(out, at + 8, offset + BigInt((done + i) * PAGE));
        out.set(info, at + 16);
      }
      this.#hash.update(out.subarray(0, now * BLOCK));
      done += now;
    }
  }

  #addMeasured(offset: bigint, secinfo: Uint8Array, pages: Uint8Array): void {
    const count = pages.length / PAGE;
    const out = measuredBuffer();
    const info = secinfo.subarray(0, 48);
    for (let done = 0; done < count; ) {
      const now = Math.min(PAGES_AT_ONCE, count - done);
      // The pages are staged behind the stream and moved into place from there: `copyWithin` is the one
      // bulk copy that allocates nothing, and there are sixteen of them to a page.
      out.set(pages.subarray(done * PAGE, (done + now) * PAGE), STAGE);
      let from = STAGE;
      let to = 0;
      for (let i = 0; i < now; i++) {
        const pageOffset = offset + BigInt((done + i) * PAGE);
        const low = Number(pageOffset & 0xffff_ffffn);
        const high = Number((pageOffset >> 32n) & 0xffff_ffffn);
        writeU32(out, to + 8, low);
        writeU32(out, to + 12, high);
        out.set(info, to + 16);
        to += BLOCK;
        for (let chunk = 0; chunk < PAGE; chunk += CHUNK) {
          writeU32(out, to + 8, low | chunk);
          writeU32(out, to + 12, high);
          out.copyWithin(to + BLOCK, from, from + CHUNK);
          to += BLOCK + CHUNK;
          from += CHUNK;
        }
      }
      this.#hash.update(out.subarray(0, to));
      done += now;
    }
  }
}

/** The buffer of PAGES_AT_ONCE page slots with tags and zero padding in place. */
function measuredBuffer(): Uint8Array {
  if (pagesBuffer !== null) return pagesBuffer;
  const out = new Uint8Array(STAGE + PAGES_AT_ONCE * PAGE);
  for (let at = 0; at < STAGE; at += MEASURED_PAGE) {
    out.set(TAG_EADD, at);
    for (let c = 0; c < PAGE / CHUNK; c++) out.set(TAG_EEXTEND, at + BLOCK + c * (BLOCK + CHUNK));
  }
  pagesBuffer = out;
  return out;
}

function checkPage(offset: bigint, secinfo: Uint8Array): void {
  if ((offset & 0xfffn) !== 0n || offset < 0n)
    throw misuse(`page offset 0x${offset.toString(16)} is not a multiple of 4096`);
  if (secinfo.length < 48) throw misuse(`SECINFO has ${secinfo.length} bytes, 48 are measured`);
}
