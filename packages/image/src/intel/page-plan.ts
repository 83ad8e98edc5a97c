/**
 * The pages of a `.signed.so` in loading order. Source: Intel SGX SDK for Linux, psw/urts/loader.cpp
 * (build_sections, build_context); Intel SDM Vol. 3D, "EADD".
 */
import { readU64, SECINFO_R, SECINFO_W, SECINFO_X, writeU64 } from '@nestedsgx/arch';
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import type { ElfSegment } from './elf.js';
import type { LayoutRange } from './layout.js';
import {
  PAGE_ATTR_EADD,
  PAGE_ATTR_EEXTEND,
  SI_FLAG_REG,
  SI_FLAGS_TCS,
  TCS_TEMPLATE,
} from './metadata-format.js';
import type { SignedSo } from './signed-so.js';

/** Pages that are added together. */
export interface PlannedPages {
  /** Bytes from the image's base. */
  readonly rva: number;
  readonly pages: number;
  readonly secinfoFlags: number;
  readonly measured: boolean;
  /** Bytes at `lead` of the first page and on; the rest is `word`, repeated. */
  readonly content: Uint8Array;
  readonly lead: number;
  /** A little-endian word that fills what `content` leaves (0 for segments). */
  readonly word: number;
}

const NOTHING = new Uint8Array(0);
const PF_X = 1;
const PF_W = 2;
const PF_R = 4;

/** Plans segments, then the layout. Throws IMAGE_ELF, IMAGE_SECINFO, IMAGE_DUPLICATE_PAGE. */
export function planPages(so: SignedSo): PlannedPages[] {
  const size = Number(so.chosen.metadata.enclave_size);
  const plan = planSegments(so, size);
  for (const range of so.layout) {
    const planned = planRange(so, range);
    if (planned !== null) plan.push(planned);
  }
  const sorted = [...plan].sort((a, b) => a.rva - b.rva);
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i - 1].rva + sorted[i - 1].pages * PAGE > sorted[i].rva)
      throw damaged('IMAGE_DUPLICATE_PAGE', `the page at rva ${hex(sorted[i].rva)} is added twice`);
  }
  return plan;
}

/**
 * The segments in order. Version 1.3 of the metadata counts an unaligned segment one page longer than it is where
 * that page is free: a zero page with the segment's access, before the next segment.
 */
function planSegments(so: SignedSo, size: number): PlannedPages[] {
  const out: PlannedPages[] = [];
  const all = [...so.elf.segments, ...so.secondSegments];
  const { major, minor } = so.chosen.version;
  let highest: ElfSegment | null = null;
  const extra = (limit: number): void => {
    if (major !== 1 || minor !== 3 || highest === null) return;
    const end = toPage(highest.rva + highest.memorySize);
    if (end < toPage(highest.rva + toPage(highest.memorySize)) && end < limit) {
      const flags = segmentFlags(highest, all.indexOf(highest));
      out.push({
        rva: end,
        pages: 1,
        secinfoFlags: flags,
        measured: true,
        content: NOTHING,
        lead: 0,
        word: 0,
      });
    }
  };
  all.forEach((segment, i) => {
    extra(segment.rva - (segment.rva % PAGE));
    if (segment.rva > (highest?.rva ?? 0)) highest = segment;
    out.push(...planSegment(so, segment, i, size));
  });
  extra(size);
  return out;
}

function toPage(n: number): number {
  return Math.ceil(n / PAGE) * PAGE;
}

/** Whole pages from the one that holds the first byte to the one that holds the last; what no file bytes fill is zero. */
function planSegment(so: SignedSo, segment: ElfSegment, index: number, size: number): PlannedPages[] {
  if (segment.memorySize === 0) return [];
  if (segment.rva + segment.memorySize > size)
    throw damaged(
      'IMAGE_ELF',
      `PT_LOAD ${index}: p_memsz ${hex(segment.memorySize)} at p_vaddr ${hex(segment.rva)} ends after enclave_size`,
    );
  const flags = segmentFlags(segment, index);
  const first = Math.floor(segment.rva / PAGE);
  const end = Math.ceil((segment.rva + segment.memorySize) / PAGE);
  const fileEnd = segment.fileSize === 0 ? first : Math.ceil((segment.rva + segment.fileSize) / PAGE);
  const content = so.patched.subarray(segment.fileOffset, segment.fileOffset + segment.fileSize);
  const lead = segment.rva - first * PAGE;
  const flagsOf = (page: number): number =>
    page < fileEnd && so.relocationPages.has(page) ? flags | SECINFO_W : flags;
  const out: PlannedPages[] = [];
  const put = (from: number, to: number): void => {
    const skip = from === first ? 0 : (from - first) * PAGE - lead;
    out.push({
      rva: from * PAGE,
      pages: to - from,
      secinfoFlags: flagsOf(from),
      measured: true,
      content: content.subarray(Math.min(skip, content.length), Math.max(0, to * PAGE - segment.rva)),
      lead: from === first ? lead : 0,
      word: 0,
    });
  };
  // Only pages with bytes from the file can differ from their segment.
  let from = first;
  for (let page = first + 1; page <= fileEnd && page < end; page++) {
    if (flagsOf(page) === flagsOf(from)) continue;
    put(from, page);
    from = page;
  }
  put(from, end);
  return out;
}

function segmentFlags(segment: ElfSegment, index: number): number {
  if ((segment.flags & PF_W) !== 0 && (segment.flags & PF_R) === 0)
    throw damaged(
      'IMAGE_SECINFO',
      `PT_LOAD ${index}: p_flags is ${segment.flags}: W without R, which EADD refuses`,
    );
  return (
    SI_FLAG_REG |
    ((segment.flags & PF_R) !== 0 ? SECINFO_R : 0) |
    ((segment.flags & PF_W) !== 0 ? SECINFO_W : 0) |
    ((segment.flags & PF_X) !== 0 ? SECINFO_X : 0)
  );
}

function planRange(so: SignedSo, { entry, rva, pages }: LayoutRange): PlannedPages | null {
  if ((entry.attributes & PAGE_ATTR_EADD) === 0 || pages === 0) return null;
  const flags = Number(entry.si_flags);
  const content =
    entry.content_offset === 0
      ? NOTHING
      : so.chosen.bytes.subarray(entry.content_offset, entry.content_offset + entry.content_size);
  if (entry.content_offset === 0 && flags === 0) return null;
  const extended = (entry.attributes & PAGE_ATTR_EEXTEND) !== 0;
  const base = { rva, pages, secinfoFlags: flags, lead: 0 };
  if (flags === SI_FLAGS_TCS) return { ...base, measured: extended, content: tcsPage(content, rva), word: 0 };
  if (entry.content_offset !== 0) return { ...base, measured: true, content, word: 0 };
  return { ...base, measured: extended, content: NOTHING, word: entry.content_size };
}

/** The template with its offsets, which count from the TCS page, counted from the image's base. */
function tcsPage(template: Uint8Array, rva: number): Uint8Array {
  const out = template.slice();
  const { ossa, ofs_base, ogs_base } = TCS_TEMPLATE.offsets;
  for (const at of [ossa, ofs_base, ogs_base])
    writeU64(out, at, BigInt.asUintN(64, readU64(out, at) + BigInt(rva)));
  return out;
}

/** Writes pages [from, from + n) of a plan over `out` (n * 4096 bytes). */
export function fillPages(planned: PlannedPages, from: number, out: Uint8Array): void {
  if (planned.word === 0) out.fill(0);
  else {
    for (let i = 0; i < 4; i++) out[i] = (planned.word >>> (8 * i)) & 0xff;
    for (let done = 4; done < out.length; done *= 2)
      out.copyWithin(done, 0, Math.min(done, out.length - done));
  }
  const start = planned.lead - from * PAGE;
  const skip = Math.max(0, -start);
  if (skip >= planned.content.length || start >= out.length) return;
  const at = Math.max(0, start);
  out.set(planned.content.subarray(skip, skip + out.length - at), at);
}
