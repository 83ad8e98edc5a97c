/** The state of one pass over an SGXS stream: a window on the file and the run under assembly. */
import { type IncrementalHash, PT_REG, PT_TCS, readU32, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { damaged, hasTag, hex, isZero } from './damage.js';
import { BLOCK, CHUNK, PAGE, PAGE_RECORD, TAG } from './format.js';
import { SeenPages } from './seen-pages.js';
import type { ByteSource } from './source.js';

/** Pages of a run at most: 1 MiB. */
const RUN_PAGES = 256;
/** Bytes of a run at most. */
export const RUN_BYTES = RUN_PAGES * PAGE;
const WINDOW_BYTES = RUN_PAGES * PAGE_RECORD;

/** What a whole pass found. */
export interface SgxsTotals {
  pages: number;
  measuredPages: number;
  tcs: number;
}

/** A run as the walker holds it. */
export interface WalkedRun {
  offset: number;
  flags: number;
  measured: boolean;
  /** In the walker's own memory. */
  data: Uint8Array;
}

interface PeekedPage {
  offset: number;
  flags: number;
  measured: boolean;
}

/** Bytes that a walk over `source` works in: a run, and the window. */
export function walkerBytes(source: ByteSource): number {
  return RUN_BYTES + Math.min(WINDOW_BYTES, Math.max(source.length, BLOCK));
}

/** Walks a stream whose header was checked; `next` gives its runs. */
export class Walker {
  readonly #source: ByteSource;
  readonly #size: number;
  readonly #hash: IncrementalHash | undefined;
  readonly #totals: SgxsTotals;
  /** The run under assembly, then the window; in one array so that `copyWithin` moves chunks. */
  readonly #memory: Uint8Array;
  /** File offset of the byte at `#pos`. */
  #fileAt = 0;
  #pos = RUN_BYTES;
  #end = RUN_BYTES;
  /** Where in the window the bytes begin that are measured but not hashed yet. */
  #hashFrom = RUN_BYTES;
  readonly #seen: SeenPages;

  /** @param memory at least `walkerBytes(source)` bytes, the walker's until it is done */
  constructor(
    source: ByteSource,
    size: number,
    hash: IncrementalHash | undefined,
    totals: SgxsTotals,
    memory: Uint8Array,
  ) {
    this.#source = source;
    this.#size = size;
    this.#hash = hash;
    this.#seen = new SeenPages(size / PAGE);
    this.#totals = totals;
    this.#memory = memory.subarray(0, walkerBytes(source));
    this.#fill();
    this.#advance(BLOCK);
  }

  /** The next run of at most `maxBytes`, or null at the end. */
  next(maxBytes: number): WalkedRun | null {
    let run: PeekedPage | null = null;
    let length = 0;
    for (;;) {
      if (this.#end - this.#pos < PAGE_RECORD && this.#unread() > 0) {
        if (run !== null) break;
        this.#fill();
      }
      if (this.#pos === this.#end) break;
      if (length === maxBytes) break;
      const eadd = this.#peekEadd();
      if (run === null) run = { offset: eadd.offset, flags: eadd.flags, measured: eadd.measured };
      else if (
        eadd.offset !== run.offset + length ||
        eadd.flags !== run.flags ||
        eadd.measured !== run.measured
      )
        break;
      this.#takePage(eadd, length);
      length += PAGE;
    }
    if (run === null) {
      this.#hashUpTo(this.#pos);
      return null;
    }
    return { ...run, data: this.#memory.subarray(0, length) };
  }

  #unread(): number {
    return this.#source.length - (this.#fileAt + (this.#end - this.#pos));
  }

  /** Moves what is left of the window to its start and reads on. */
  #fill(): void {
    this.#hashUpTo(this.#pos);
    const m = this.#memory;
    const left = this.#end - this.#pos;
    m.copyWithin(RUN_BYTES, this.#pos, this.#end);
    const more = Math.min(m.length - RUN_BYTES - left, this.#source.length - this.#fileAt - left);
    this.#pos = RUN_BYTES;
    this.#hashFrom = RUN_BYTES;
    this.#end = RUN_BYTES + left + more;
    this.#source.readInto(m.subarray(RUN_BYTES + left, this.#end), this.#fileAt + left);
  }

  #advance(n: number): void {
    this.#pos += n;
    this.#fileAt += n;
  }

  #hashUpTo(pos: number): void {
    if (this.#hash !== undefined && pos > this.#hashFrom)
      this.#hash.update(this.#memory.subarray(this.#hashFrom, pos));
    this.#hashFrom = pos;
  }

  /** Checks the EADD block at the current position and looks at what follows it, without moving. */
  #peekEadd(): PeekedPage {
    const m = this.#memory;
    const at = this.#pos;
    const where = `offset ${this.#fileAt}`;
    if (this.#end - at < BLOCK)
      throw damaged('IMAGE_TRUNCATED', `the image ends inside the chunk at ${where}`);
    if (!hasTag(m, at, TAG.EADD)) {
      if (hasTag(m, at, TAG.EEXTEND) || hasTag(m, at, TAG.UNMEASRD)) {
        throw damaged('IMAGE_CHUNK', `the page data at ${where} do not belong to the page before them`);
      }
      throw damaged('IMAGE_TAG', `there is no EADD chunk at ${where}`);
    }
    const offset = readU32(m, at + 8) + readU32(m, at + 12) * 2 ** 32;
    if (offset % PAGE !== 0)
      throw damaged('IMAGE_EADD', `EADD at ${where}: page offset ${hex(offset)} is not page aligned`);
    if (offset >= this.#size)
      throw damaged('IMAGE_EADD', `EADD at ${where}: page offset ${hex(offset)} is outside the enclave`);
    const flags = readU32(m, at + 16);
    if (flags > 0xffff || !isZero(m, at + 20, at + BLOCK)) {
      throw damaged('IMAGE_SECINFO', `EADD at ${where}: reserved bits of SECINFO are not zero`);
    }
    checkFlags(flags, where);
    return { offset, flags, measured: this.#end - at >= 2 * BLOCK && hasTag(m, at + BLOCK, TAG.EEXTEND) };
  }

  /** Takes the page whose EADD was peeked; its data go to `to` of the run. */
  #takePage(eadd: PeekedPage, to: number): void {
    const m = this.#memory;
    if (!this.#seen.add(eadd.offset / PAGE)) {
      throw damaged(
        'IMAGE_DUPLICATE_PAGE',
        `EADD at offset ${this.#fileAt}: page ${hex(eadd.offset)} is added twice`,
      );
    }
    this.#advance(BLOCK);
    const data = eadd.measured ? TAG.EEXTEND : TAG.UNMEASRD;
    const other = eadd.measured ? TAG.UNMEASRD : TAG.EEXTEND;
    let done = 0;
    while (this.#pos < this.#end && !hasTag(m, this.#pos, TAG.EADD)) {
      const at = this.#pos;
      const isData = hasTag(m, at, data);
      if (!isData && hasTag(m, at, other)) {
        throw damaged(
          'IMAGE_PARTLY_MEASURED',
          `the page ${hex(eadd.offset)} (chunk at offset ${this.#fileAt}) is measured in part`,
        );
      }
      if (!isData && this.#end - at < BLOCK) {
        throw damaged('IMAGE_TRUNCATED', `the image ends inside the chunk at offset ${this.#fileAt}`);
      }
      if (!isData) throw damaged('IMAGE_TAG', `there is no known chunk at offset ${this.#fileAt}`);
      const chunk = this.#chunkOffset(eadd.offset, done, eadd.measured);
      if (!eadd.measured) {
        if (chunk > done) m.fill(0, to + done, to + chunk);
        this.#hashUpTo(at);
        this.#hashFrom = at + BLOCK + CHUNK;
      }
      m.copyWithin(to + chunk, at + BLOCK, at + BLOCK + CHUNK);
      this.#advance(BLOCK + CHUNK);
      done = chunk + CHUNK;
    }
    if (eadd.measured && done !== PAGE) {
      throw this.#pos === this.#end
        ? damaged(
            'IMAGE_TRUNCATED',
            `the image ends inside the page ${hex(eadd.offset)} (offset ${this.#fileAt})`,
          )
        : damaged(
            'IMAGE_PARTLY_MEASURED',
            `the page ${hex(eadd.offset)} before offset ${this.#fileAt} is measured in part`,
          );
    }
    if (done < PAGE) m.fill(0, to + done, to + PAGE);
    this.#totals.pages++;
    if (eadd.measured) this.#totals.measuredPages++;
    if (eadd.flags >> 8 === PT_TCS) this.#totals.tcs++;
  }

  /** Checks the chunk at the current position; returns its offset in the page. */
  #chunkOffset(page: number, done: number, measured: boolean): number {
    const m = this.#memory;
    const at = this.#pos;
    if (this.#end - at < BLOCK + CHUNK)
      throw damaged('IMAGE_TRUNCATED', `the image ends inside the chunk at offset ${this.#fileAt}`);
    const offset = readU32(m, at + 8) + readU32(m, at + 12) * 2 ** 32 - page;
    const inOrder = measured ? offset === done : offset >= done;
    if (!inOrder || offset % CHUNK !== 0 || offset < 0 || offset >= PAGE) {
      throw damaged(
        'IMAGE_CHUNK',
        `the chunk at offset ${this.#fileAt} is not the next one of page ${hex(page)}`,
      );
    }
    if (!isZero(m, at + 16, at + BLOCK))
      throw damaged('IMAGE_CHUNK', `reserved bytes of the chunk at offset ${this.#fileAt} are not zero`);
    return offset;
  }
}

function checkFlags(flags: number, where: string): void {
  const type = flags >> 8;
  const permissions = flags & 0xff;
  if (type !== PT_TCS && type !== PT_REG)
    throw damaged('IMAGE_SECINFO', `EADD at ${where}: page type ${type} cannot be added`);
  if (permissions > 7)
    throw damaged('IMAGE_SECINFO', `EADD at ${where}: SECINFO flags ${hex(flags)} are not permissions`);
  if (type === PT_TCS && permissions !== 0)
    throw damaged('IMAGE_SECINFO', `EADD at ${where}: a TCS has permissions`);
  if ((permissions & SECINFO_W) !== 0 && (permissions & SECINFO_R) === 0) {
    throw damaged('IMAGE_SECINFO', `EADD at ${where}: a page is writable but not readable`);
  }
}
