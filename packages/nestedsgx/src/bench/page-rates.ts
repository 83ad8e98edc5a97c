/** Pages a second of leaves on many pages at once, beside the raw cryptography over the same bytes in the same run. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import {
  ADD_RANGE,
  ATTRIBUTES_MODE64BIT,
  AUG_RANGE,
  EVICT_ENTRY,
  LOAD_ENTRY,
  PAGE_LIST_MAX,
  PT_REG,
  PT_VA,
  SECINFO_PENDING,
  SECINFO_R,
  SECINFO_W,
  SECS,
  SGX_CALL,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import type { GuestConnection } from '@nestedsgx/guest';
import type { Cvm } from '@nestedsgx/sdk';
import { LeafBed } from './leaf-bed.js';
import { PROBE, Probe } from './probe.js';
import type { BenchContext, Row } from './row.js';
import { median } from './statistics.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const REGULAR = PT_REG << 8;
const RW = SECINFO_R | SECINFO_W;
/** Bytes that a measured page adds to the measurement: EADD's block, and 16 times EEXTEND's block and 256 bytes. */
const MEASURED_PER_PAGE = 64 + 16 * (64 + 256);
const PCMD_SIZE = 128;
/** Pages of a call of ADD_RANGE, as the driver makes them. */
const ADD_PAGES = 512;
const FREE_AT = 16 * MIB;

/** Pages a second of a run that took `cycles`. */
type Rate = (pages: number, cycles: number) => number;

function row(name: string, form: string, values: number[], floors: number[] | null, note: string): Row {
  return {
    name,
    form,
    value: median(values),
    unit: 'pages/s',
    p99: Math.min(...values),
    floor: floors === null ? null : median(floors),
    peer: null,
    paper: null,
    note: `${note}; p99 column: the slowest round`,
  };
}

/** One pass of SHA-256 over as many bytes as measuring the pages hashes, in milliseconds. */
function hashPass(pages: number, contents: Uint8Array): number {
  const start = performance.now();
  const hash = createHash('sha256');
  for (let left = pages * MEASURED_PER_PAGE; left > 0; left -= contents.length)
    hash.update(left < contents.length ? contents.subarray(0, left) : contents);
  hash.digest();
  return performance.now() - start;
}

/** AES-128-GCM of every page and back, each with a cipher of its own, in milliseconds. */
function cipherPass(pages: number, contents: Uint8Array): number {
  const key = randomBytes(16);
  const additional = new Uint8Array(PCMD_SIZE);
  const iv = new Uint8Array(12);
  const start = performance.now();
  for (let i = 0; i < pages; i++) {
    const page = contents.subarray((i * PAGE) % contents.length, ((i * PAGE) % contents.length) + PAGE);
    new DataView(iv.buffer).setUint32(0, i, true);
    const out = createCipheriv('aes-128-gcm', key, iv).setAAD(additional);
    const sealed = out.update(page);
    out.final();
    const back = createDecipheriv('aes-128-gcm', key, iv).setAAD(additional).setAuthTag(out.getAuthTag());
    back.update(sealed);
    back.final();
  }
  return performance.now() - start;
}

/** EADD and EEXTEND of `pages` pages, and their removal. */
class Adding {
  readonly #bed: LeafBed;
  readonly #connection: GuestConnection;
  readonly #base: number;
  readonly #frames: number;

  constructor(bed: LeafBed, connection: GuestConnection, base: number, frames: number) {
    this.#bed = bed;
    this.#connection = connection;
    this.#base = base;
    this.#frames = frames;
  }

  run(pages: number, tscHz: number): number {
    const bed = this.#bed;
    const { memory } = this.#connection;
    const secs = this.#frames;
    const size = 2 ** Math.ceil(Math.log2(pages * PAGE));
    const ATTRIBUTES = { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: XFRM_LEGACY };
    bed.secinfo(0);
    const source = bed.secs(
      SECS.encode({ SIZE: BigInt(size), BASEADDR: BigInt(this.#base), SSAFRAMESIZE: 1, ATTRIBUTES }),
    );
    bed.leaf('ECREATE', bed.pageinfo({ source }), secs);
    const contents = memory.alloc(Math.min(pages, ADD_PAGES) * PAGE, { alignment: PAGE });
    const operand = memory.alloc(ADD_RANGE.size);
    const secinfo = BigInt(bed.secinfo(REGULAR | RW));
    let cycles = 0;
    for (let done = 0; done < pages; done += ADD_PAGES) {
      const count = Math.min(ADD_PAGES, pages - done);
      const fields = {
        SECS: BigInt(secs),
        LINADDR: BigInt(this.#base + done * PAGE),
        SRC: BigInt(contents.gpa),
        LENGTH: BigInt(count * PAGE),
        SECINFO: secinfo,
        EPC: BigInt(secs + (1 + done) * PAGE),
        FLAGS: 1n,
      };
      operand.bytes.set(ADD_RANGE.encode(fields));
      cycles += bed.call('ADD_RANGE', SGX_CALL.ADD_RANGE, operand.gpa);
    }
    for (const block of [contents, operand]) memory.free(block);
    bed.call('REMOVE_RANGE', SGX_CALL.REMOVE_RANGE, secs + PAGE, pages);
    bed.leaf('EREMOVE', 0, secs);
    return pages / (cycles / tscHz);
  }
}

/** EAUG and EACCEPT of pages, EWB and ELDU of the same, and their removal. */
class Paging {
  readonly #bed: LeafBed;
  readonly #connection: GuestConnection;
  readonly #probe: Probe;
  readonly #pages: number;
  readonly #frames: number;
  readonly #slots: number;

  constructor(bed: LeafBed, connection: GuestConnection, probe: Probe, pages: number) {
    this.#bed = bed;
    this.#connection = connection;
    this.#probe = probe;
    this.#pages = pages;
    this.#frames = bed.frames(pages);
    const arrays = Math.ceil(pages / PAGE_LIST_MAX);
    this.#slots = bed.frames(arrays);
    for (let i = 0; i < arrays; i++) bed.leaf('EPA', PT_VA, this.#slots + i * PAGE);
  }

  /** Cycles of EAUG and EACCEPT of all pages. */
  augment(): { eaug: number; eaccept: number } {
    const operand = this.#connection.memory.alloc(AUG_RANGE.size);
    const linaddr = this.#probe.base + FREE_AT;
    operand.bytes.set(
      AUG_RANGE.encode({
        SECS: BigInt(this.#probe.secs),
        LINADDR: BigInt(linaddr),
        LENGTH: BigInt(this.#pages * PAGE),
        EPC: BigInt(this.#frames),
      }),
    );
    const eaug = this.#bed.call('AUG_RANGE', SGX_CALL.AUG_RANGE, operand.gpa);
    this.#connection.memory.free(operand);
    const start = performance.now();
    this.#probe.onPages(PROBE.EACCEPT, linaddr, this.#pages, SECINFO_PENDING | REGULAR | RW);
    return { eaug, eaccept: performance.now() - start };
  }

  /** Cycles of EWB, and of ELDU, of all pages. */
  outAndBack(): { out: number; back: number } {
    const { memory } = this.#connection;
    const sealed = memory.alloc(this.#pages * PAGE, { alignment: PAGE });
    const pcmds = memory.alloc(this.#pages * PCMD_SIZE, { alignment: PAGE });
    const list = memory.alloc(PAGE_LIST_MAX * LOAD_ENTRY.size, { alignment: PAGE });
    const entry = (page: number) => ({
      FRAME: BigInt(this.#frames + page * PAGE),
      VASLOT: BigInt(this.#slots + page * 8),
      SRCPGE: BigInt(sealed.gpa + page * PAGE),
      PCMD: BigInt(pcmds.gpa + page * PCMD_SIZE),
    });
    const linaddr = (page: number) => BigInt(this.#probe.base + FREE_AT + page * PAGE);
    const { secs } = this.#probe;
    const out = this.#lists((first, count) => {
      for (let i = 0; i < count; i++)
        list.bytes.set(EVICT_ENTRY.encode(entry(first + i)), i * EVICT_ENTRY.size);
      return this.#bed.call('EVICT', SGX_CALL.EVICT, secs, list.gpa, count);
    });
    const back = this.#lists((first, count) => {
      for (let i = 0; i < count; i++)
        list.bytes.set(
          LOAD_ENTRY.encode({ ...entry(first + i), LINADDR: linaddr(first + i) }),
          i * LOAD_ENTRY.size,
        );
      return this.#bed.call('LOAD', SGX_CALL.LOAD, secs, list.gpa, count);
    });
    for (const block of [sealed, pcmds, list]) memory.free(block);
    return { out, back };
  }

  /** Removes the pages, so that they can be added again. */
  remove(): void {
    this.#bed.call('REMOVE_RANGE', SGX_CALL.REMOVE_RANGE, this.#frames, this.#pages);
  }

  /** Removes the version arrays. */
  end(): void {
    for (let i = 0; i < Math.ceil(this.#pages / PAGE_LIST_MAX); i++)
      this.#bed.leaf('EREMOVE', 0, this.#slots + i * PAGE);
  }

  #lists(work: (first: number, count: number) => number): number {
    let cycles = 0;
    for (let first = 0; first < this.#pages; first += PAGE_LIST_MAX)
      cycles += work(first, Math.min(PAGE_LIST_MAX, this.#pages - first));
    return cycles;
  }
}

/** The rows `eadd-eextend`, `eaug-eaccept`, `ewb-eldu` and the halves of the latter two. */
export async function pageRates(context: BenchContext, cvm: Cvm, form: string): Promise<Row[]> {
  const { short, tscHz } = context;
  const rounds = short ? 2 : 9;
  const added = short ? 64 : 16_384;
  const paged = short ? 64 : 4096;
  const rate: Rate = (pages, cycles) => pages / (cycles / tscHz);
  const { connection, device } = await cvm.guest();
  using bed = new LeafBed(connection);
  const contents = new Uint8Array(8 * MIB).fill(7);

  const base = device.ranges.reserve(2 ** Math.ceil(Math.log2(added * PAGE)));
  const adding = new Adding(bed, connection, base, bed.frames(added + 1));
  const rawHash: number[] = [];
  const adds: number[] = [];
  for (let i = 0; i < rounds; i++) {
    rawHash.push(added / (hashPass(added, contents) / 1000));
    adds.push(adding.run(added, tscHz));
  }
  device.ranges.release(base);

  using probe = await Probe.load(cvm, { elrange: 4 * FREE_AT });
  const paging = new Paging(bed, connection, probe, paged);
  const accepts: number[] = [];
  const augments: number[] = [];
  const trips: number[] = [];
  const outs: number[] = [];
  const rawCipher: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const { eaug, eaccept } = paging.augment();
    augments.push(rate(paged, eaug));
    accepts.push(rate(paged, eaug + (eaccept / 1000) * tscHz));
    rawCipher.push(paged / (cipherPass(paged, contents) / 1000));
    const { out, back } = paging.outAndBack();
    outs.push(rate(paged, out));
    trips.push(rate(paged, out + back));
    paging.remove();
  }
  paging.end();
  return [
    row(
      'eadd-eextend',
      form,
      adds,
      rawHash,
      `ADD_RANGE of ${added} pages; floor: SHA-256 over the bytes that are measured, 5,184 a page`,
    ),
    row('eaug', form, augments, null, `AUG_RANGE of ${paged} pages`),
    row(
      'eaug-eaccept',
      form,
      accepts,
      null,
      'the same, and the enclave accepts each page with a leaf of its own',
    ),
    row('ewb', form, outs, null, `EVICT of ${paged} pages, ${PAGE_LIST_MAX} a call`),
    row(
      'ewb-eldu',
      form,
      trips,
      rawCipher,
      'EVICT and LOAD of the same pages; floor: AES-128-GCM of each page and back, one cipher object a page and way',
    ),
  ];
}
