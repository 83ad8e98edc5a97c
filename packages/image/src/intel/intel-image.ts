/** `.signed.so` files as {@link EnclaveImage}. Source: Intel SGX SDK for Linux, psw/urts/loader.cpp. */
import { type Attributes, NsgxError } from '@nestedsgx/arch';
import type { EnclaveImage, PageRun, PagesOptions } from '../image.js';
import { PAGE } from '../sgxs/format.js';
import type { MetadataBlock } from './metadata.js';
import {
  type ElrangeConfigEntry,
  LAYOUT_ID_TCS_DYN,
  metadataKind,
  PAGE_ATTR_DYN_THREAD,
  PAGE_ATTR_EADD,
  PAGE_ATTR_EREMOVE,
  PAGE_ATTR_POST_ADD,
  PAGE_ATTR_POST_REMOVE,
  PAGE_DIR_GROW_DOWN,
  SI_FLAGS_TCS,
} from './metadata-format.js';
import { fillPages, type PlannedPages, planPages } from './page-plan.js';
import { parseSignedSo, type SignedSo, type SignedSoOptions } from './signed-so.js';

/** Longest run delivered without a buffer. */
const RUN_PAGES = 256;

/** A range of pages that come or go after EINIT (EDMM, or EREMOVE by the loader). */
export interface DynamicRange {
  /** Offset from BASEADDR, in bytes. */
  readonly offset: number;
  readonly size: number;
  /** LAYOUT_ID_* without its prefix. */
  readonly name: string;
  /** layout_entry_t.si_flags: R, W, X and the page type << 8, as it is when in use. */
  readonly secinfoFlags: number;
  /** EADD: the pages are there at EINIT. */
  readonly added: boolean;
  /** EREMOVE: the loader takes the pages away after EINIT. */
  readonly removed: boolean;
  /** POST_ADD: pages are added at run time. */
  readonly postAdd: boolean;
  /** POST_REMOVE: pages are trimmed by the runtime when it starts. */
  readonly postRemove: boolean;
  /** DYN_THREAD: part of a thread that is made at run time. */
  readonly dynamicThread: boolean;
  /** GROW_DOWN: pages are added from the end downwards. */
  readonly growDown: boolean;
}

/** A thread's TCS. */
export interface IntelThread {
  /** Offset of the TCS page from BASEADDR, in bytes. */
  readonly offset: number;
  /** Made at run time (EDMM), not added before EINIT. */
  readonly dynamic: boolean;
}

/** An enclave built with Intel's SDK. */
export class IntelImage implements EnclaveImage {
  readonly format = 'intel';
  /** SECS.SIZE in bytes: the ELRANGE's size when the file sets one, else enclave_size. */
  readonly size: number;
  readonly ssaFrameSize: number;
  /** metadata_t.desired_misc_select. */
  readonly miscselect: number;
  /** metadata_t.attributes, which a loader intersects with what the platform has. */
  readonly attributes: Attributes;
  /** TCS pages that are added. */
  readonly tcs: number;
  /** TCSs that can be entered, in the loader's order; those of EREMOVE entries are not among them. */
  readonly threads: readonly IntelThread[];
  /** metadata_t.tcs_policy: whether a host thread keeps its TCS. */
  readonly tcsPolicy: 'bind' | 'unbind';
  /** metadata_t.tcs_min_pool. */
  readonly tcsMinPool: number;
  readonly sigstruct: Uint8Array;
  /** The metadata are for loaders with dynamic memory (EDMM, version 3.x). */
  readonly edmm: boolean;
  /** Ranges that change after EINIT; a loader without EDMM needs none of them but those `removed`. */
  readonly dynamic: readonly DynamicRange[];
  /** Addresses that the file asks for, when it sets an ELRANGE. */
  readonly elrange: ElrangeConfigEntry | null;
  /** Everything that was parsed. */
  readonly source: SignedSo;
  readonly #plan: readonly PlannedPages[];
  /** Where the image begins in the ELRANGE, in bytes from BASEADDR. */
  readonly #shift: number;

  /** Plans all pages; the file was checked by `parseSignedSo`. Throws IMAGE_ELF, IMAGE_SECINFO, IMAGE_DUPLICATE_PAGE. */
  constructor(source: SignedSo) {
    const block: MetadataBlock = source.chosen;
    const { metadata, elrange } = block;
    this.source = source;
    this.elrange = elrange;
    this.size = Number(elrange?.elrange_size ?? metadata.enclave_size);
    this.#shift =
      elrange === null ? 0 : Number(elrange.enclave_image_address - elrange.elrange_start_address);
    this.ssaFrameSize = metadata.ssa_frame_size;
    this.miscselect = metadata.desired_misc_select;
    this.attributes = metadata.attributes;
    this.tcsPolicy = metadata.tcs_policy === 0 ? 'bind' : 'unbind';
    this.tcsMinPool = metadata.tcs_min_pool;
    this.sigstruct = metadata.enclave_css;
    this.edmm = metadataKind(block.version) === 3;
    this.#plan = planPages(source);
    this.tcs = this.#plan.filter(({ secinfoFlags }) => secinfoFlags === SI_FLAGS_TCS).length;
    this.threads = threadsOf(source, this.#shift);
    this.dynamic = dynamicRanges(source, this.#shift);
  }

  *pages(options: PagesOptions = {}): Generator<PageRun, void, undefined> {
    const { buffer } = options;
    const most = buffer === undefined ? RUN_PAGES : Math.floor(buffer.length / PAGE);
    if (most === 0)
      throw new NsgxError(
        'IMAGE_LAYOUT',
        `the buffer for pages has ${buffer?.length} bytes, at least 4096 are needed`,
      );
    for (const planned of this.#plan) {
      for (let from = 0; from < planned.pages; from += most) {
        const length = Math.min(most, planned.pages - from) * PAGE;
        const data = buffer === undefined ? new Uint8Array(length) : buffer.subarray(0, length);
        fillPages(planned, from, data);
        yield {
          offset: this.#shift + planned.rva + from * PAGE,
          secinfoFlags: planned.secinfoFlags,
          data,
          measured: planned.measured,
        };
      }
    }
  }
}

function threadsOf(source: SignedSo, shift: number): IntelThread[] {
  const out: IntelThread[] = [];
  for (const { entry, rva } of source.layout) {
    const added = (entry.attributes & PAGE_ATTR_EADD) !== 0 && entry.si_flags === BigInt(SI_FLAGS_TCS);
    if (added && (entry.attributes & PAGE_ATTR_EREMOVE) === 0)
      out.push({ offset: shift + rva, dynamic: false });
    if ((entry.attributes & PAGE_ATTR_POST_ADD) !== 0 && entry.id === LAYOUT_ID_TCS_DYN)
      out.push({ offset: shift + rva, dynamic: true });
  }
  return out;
}

function dynamicRanges(source: SignedSo, shift: number): DynamicRange[] {
  const changing = PAGE_ATTR_EREMOVE | PAGE_ATTR_POST_ADD | PAGE_ATTR_POST_REMOVE;
  return source.layout
    .filter(({ entry, pages }) => pages > 0 && (entry.attributes & changing) !== 0)
    .map(({ entry, rva, pages, name }) => {
      const has = (bit: number): boolean => (entry.attributes & bit) !== 0;
      return {
        offset: shift + rva,
        size: pages * PAGE,
        name,
        secinfoFlags: Number(entry.si_flags & 0xffffn),
        added: has(PAGE_ATTR_EADD),
        removed: has(PAGE_ATTR_EREMOVE),
        postAdd: has(PAGE_ATTR_POST_ADD),
        postRemove: has(PAGE_ATTR_POST_REMOVE),
        dynamicThread: has(PAGE_ATTR_DYN_THREAD),
        growDown: has(PAGE_DIR_GROW_DOWN),
      };
    });
}

/**
 * A `.signed.so` ready to be loaded or measured; the bytes are copied. Throws the errors of `parseSignedSo`,
 * IMAGE_SECINFO and IMAGE_DUPLICATE_PAGE.
 */
export function loadSignedSo(bytes: Uint8Array, options: SignedSoOptions = {}): IntelImage {
  return new IntelImage(parseSignedSo(bytes, options));
}
