/**
 * The layout table with its groups repeated, checked. Source: Intel SGX SDK for Linux, psw/urts/loader.cpp
 * (build_contexts, validate_layout_table).
 */
import { damaged, hex } from '../sgxs/damage.js';
import { PAGE } from '../sgxs/format.js';
import { MAX_LAYOUT_RANGES } from './limits.js';
import type { MetadataBlock } from './metadata.js';
import {
  LAYOUT_IDS,
  type LayoutEntry,
  PAGE_ATTR_EADD,
  SI_FLAG_REG,
  SI_FLAGS_TCS,
  TCS_TEMPLATE,
} from './metadata-format.js';

/** One layout_entry_t at one place. */
export interface LayoutRange {
  /** Index of the entry in the table. */
  readonly index: number;
  readonly entry: LayoutEntry;
  /** LAYOUT_ID_* without its prefix, or the number. */
  readonly name: string;
  /** Bytes from the image's base. */
  readonly rva: number;
  readonly pages: number;
}

/** Name of a layout id. */
export function layoutName(id: number): string {
  return LAYOUT_IDS.get(id) ?? hex(id);
}

/**
 * Every range of the layout table in loading order: a group repeats the entries before it at multiples of its
 * load_step. Throws IMAGE_METADATA_LAYOUT (entry, field and value are named).
 */
export function expandLayout(block: MetadataBlock): LayoutRange[] {
  const size = Number(block.metadata.enclave_size);
  const out: LayoutRange[] = [];
  const place = (index: number, entry: LayoutEntry, step: number): void => {
    if (out.length === MAX_LAYOUT_RANGES)
      throw wrong(index, `the table stands for more than ${MAX_LAYOUT_RANGES} ranges`);
    const rva = entry.rva > BigInt(size) ? size + 1 : Number(entry.rva) + step;
    if (rva + entry.page_count * PAGE > size)
      throw wrong(
        index,
        `${entry.page_count} pages at rva 0x${entry.rva.toString(16)} + ${hex(step)} end after enclave_size ${hex(size)}`,
      );
    out.push({ index, entry, name: layoutName(entry.id), rva, pages: entry.page_count });
  };
  block.layout.forEach((row, index) => {
    if ('entry' in row) {
      checkEntry(index, row.entry, block);
      place(index, row.entry, 0);
      return;
    }
    const { entry_count, load_times, load_step } = row.group;
    if (entry_count > index)
      throw wrong(index, `layout_group_t.entry_count is ${entry_count}, but ${index} entries are before it`);
    const repeated = block.layout.slice(index - entry_count, index);
    if (entry_count === 0) return;
    if (load_step % BigInt(PAGE) !== 0n || load_step * BigInt(load_times) > BigInt(size))
      throw wrong(
        index,
        `layout_group_t.load_step is 0x${load_step.toString(16)}, ${load_times} times, beyond enclave_size`,
      );
    for (let n = 1; n <= load_times; n++) {
      repeated.forEach((inner, i) => {
        if ('group' in inner) throw wrong(index, 'layout_group_t.entry_count reaches over another group');
        place(index - entry_count + i, inner.entry, Number(load_step) * n);
      });
    }
  });
  checkOverlap(out);
  return out;
}

function wrong(index: number, message: string): Error {
  return damaged('IMAGE_METADATA_LAYOUT', `layout_t ${index}: ${message}`);
}

function checkEntry(index: number, entry: LayoutEntry, block: MetadataBlock): void {
  const bad = (message: string): Error => wrong(index, `layout_entry_t (${layoutName(entry.id)}).${message}`);
  if (entry.rva % BigInt(PAGE) !== 0n) throw bad(`rva is 0x${entry.rva.toString(16)}, not a page`);
  const { content_offset, content_size, si_flags, page_count } = entry;
  if (content_offset !== 0 && content_offset + content_size > block.bytes.length)
    throw bad(`content_offset is ${hex(content_offset)} with ${content_size} bytes, outside of the block`);
  if ((entry.attributes & PAGE_ATTR_EADD) === 0) return;
  if (si_flags === BigInt(SI_FLAGS_TCS)) {
    if (page_count !== 1) throw bad(`page_count is ${page_count}, a TCS is one page`);
    if (content_offset === 0 || content_size !== TCS_TEMPLATE.size)
      throw bad(`content_size is ${content_size}, a TCS template has ${TCS_TEMPLATE.size} bytes`);
    return;
  }
  if (si_flags === 0n && content_offset === 0) return;
  if ((si_flags & ~7n) !== BigInt(SI_FLAG_REG) || (si_flags & 3n) === 2n)
    throw bad(`si_flags is 0x${si_flags.toString(16)}, which EADD refuses`);
  if (content_offset !== 0 && content_size > page_count * PAGE)
    throw bad(`content_size is ${content_size}, more than its ${page_count} pages`);
}

function checkOverlap(ranges: readonly LayoutRange[]): void {
  const sorted = ranges.filter(({ pages }) => pages > 0).sort((a, b) => a.rva - b.rva);
  for (let i = 1; i < sorted.length; i++) {
    const before = sorted[i - 1];
    if (before.rva + before.pages * PAGE > sorted[i].rva)
      throw wrong(
        sorted[i].index,
        `${sorted[i].name} at rva ${hex(sorted[i].rva)} overlaps ${before.name} of entry ${before.index}`,
      );
  }
}
