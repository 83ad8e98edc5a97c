/** Orders in which every leaf is legal, again and again: each gives the cycles of its leaves by name. */
import {
  ATTRIBUTES_MODE64BIT,
  PT_REG,
  PT_TRIM,
  PT_VA,
  SECINFO_MODIFIED,
  SECINFO_PENDING,
  SECINFO_PR,
  SECINFO_R,
  SECINFO_W,
  SECS,
  SGX_ERROR,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import { rdtsc } from '@nestedsgx/os';
import type { EnclsName, LeafBed } from './leaf-bed.js';
import { PROBE, type Probe } from './probe.js';

const PAGE = 4096;
const REGULAR = PT_REG << 8;
const RW = SECINFO_R | SECINFO_W;
/** Where pages come into a probe: behind everything that it has itself. */
const FREE_AT = 0x2_0000;

/** ELRANGE of {@link buildingLeaves}: room for 255 pages. */
export const BUILDING_BYTES = 256 * PAGE;

/** Cycles by name of the leaf in small letters. */
export class Cycles {
  readonly figures = new Map<string, number[]>();

  note(name: string, cycles: number): void {
    const list = this.figures.get(name);
    if (list === undefined) this.figures.set(name, [cycles]);
    else list.push(cycles);
  }
}

/** Executes a leaf and notes what it took. */
function timed(bed: LeafBed, cycles: Cycles, name: EnclsName, rbx = 0, rcx = 0, rdx = 0): void {
  cycles.note(name.toLowerCase(), bed.leaf(name, rbx, rcx, rdx));
}

/** The doorbell by itself, in a row. */
export function doorbells(bed: LeafBed, cycles: Cycles, count: number): void {
  for (let i = 0; i < count; i++) cycles.note('doorbell', bed.doorbell());
}

/** EUPDATESVN, while no page of the EPC is in use. */
export function idleLeaves(bed: LeafBed, cycles: Cycles): void {
  cycles.note('eupdatesvn', bed.leaf('EUPDATESVN', 0, 0, 0, SGX_ERROR.SGX_NO_UPDATE));
}

/** ECREATE, EADD, EEXTEND and EREMOVE, of an enclave at `base` that is never initialised. */
export function buildingLeaves(
  bed: LeafBed,
  cycles: Cycles,
  place: { frames: number; base: number; pages: number },
): void {
  const { frames: secs, base, pages } = place;
  const source = bed.secs(
    SECS.encode({
      SIZE: BigInt(BUILDING_BYTES),
      BASEADDR: BigInt(base),
      SSAFRAMESIZE: 1,
      ATTRIBUTES: { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: XFRM_LEGACY },
    }),
  );
  bed.secinfo(0);
  timed(bed, cycles, 'ECREATE', bed.pageinfo({ source }), secs);
  bed.secinfo(REGULAR | RW);
  for (let i = 1; i <= pages; i++) {
    const linaddr = base + i * PAGE;
    timed(bed, cycles, 'EADD', bed.pageinfo({ linaddr, source: bed.page, secs }), secs + i * PAGE);
    timed(bed, cycles, 'EEXTEND', secs, secs + i * PAGE);
  }
  for (let i = 1; i <= pages; i++) timed(bed, cycles, 'EREMOVE', 0, secs + i * PAGE);
  bed.leaf('EREMOVE', 0, secs);
}

/** Frames that {@link pageLeaves} needs beside those of its pages. */
export const EXTRA_FRAMES = 2;

/**
 * Every leaf on pages of a running debug probe: `count` pages are added, accepted, paged, changed, trimmed and removed.
 * `frames` are `count` and two more, free before and after.
 */
export function pageLeaves(bed: LeafBed, cycles: Cycles, probe: Probe, frames: number, count: number): void {
  const first = probe.base + FREE_AT;
  const slots = frames + count * PAGE;
  const spare = slots + PAGE;
  const each = (work: (frame: number, linaddr: number, index: number) => void) => {
    for (let i = 0; i < count; i++) work(frames + i * PAGE, first + i * PAGE, i);
  };
  const inside = (name: string, command: number, flags: number) => {
    bed.before();
    const start = rdtsc();
    probe.onPages(command, first, count, flags);
    cycles.note(name, (rdtsc() - start) / count);
  };
  const augment = () =>
    each((frame, linaddr) => {
      timed(bed, cycles, 'EAUG', bed.pageinfo({ linaddr, secinfo: 0, secs: probe.secs }), frame);
    });
  const trim = () => {
    each((frame) => {
      timed(bed, cycles, 'EMODT', bed.secinfo(PT_TRIM << 8), frame);
    });
    bed.leaf('ETRACK', 0, probe.secs);
    probe.onPages(PROBE.EACCEPT, first, count, SECINFO_MODIFIED | (PT_TRIM << 8));
    each((frame) => {
      timed(bed, cycles, 'EREMOVE', 0, frame);
    });
  };

  timed(bed, cycles, 'EPA', PT_VA, slots);
  augment();
  inside('eaccept', PROBE.EACCEPT, SECINFO_PENDING | REGULAR | RW);
  each((frame) => {
    timed(bed, cycles, 'EDBGWR', 1, frame + 8);
    timed(bed, cycles, 'EDBGRD', 0, frame + 8);
    timed(bed, cycles, 'ERDINFO', bed.scratch, frame);
  });
  each((frame, linaddr, i) => {
    const slot = slots + (i % 512) * 8;
    const paged = { source: bed.page, secinfo: bed.pcmd };
    const out = () => timed(bed, cycles, 'EWB', bed.pageinfo(paged), frame, slot);
    const back = (name: 'ELDB' | 'ELDU' | 'ELDBC' | 'ELDUC') =>
      timed(bed, cycles, name, bed.pageinfo({ ...paged, linaddr, secs: probe.secs }), frame, slot);
    timed(bed, cycles, 'EBLOCK', 0, frame);
    timed(bed, cycles, 'ETRACK', 0, probe.secs);
    out();
    back('ELDU');
    timed(bed, cycles, 'EBLOCK', 0, frame);
    timed(bed, cycles, 'ETRACKC', 0, frame);
    out();
    // A page that came back blocked can go again once it was tracked.
    back('ELDB');
    bed.leaf('ETRACK', 0, probe.secs);
    out();
    back('ELDBC');
    bed.leaf('ETRACK', 0, probe.secs);
    out();
    back('ELDUC');
  });
  each((frame) => {
    timed(bed, cycles, 'EMODPR', bed.secinfo(SECINFO_R), frame);
  });
  bed.leaf('ETRACK', 0, probe.secs);
  inside('eaccept', PROBE.EACCEPT, SECINFO_PR | REGULAR | SECINFO_R);
  inside('emodpe', PROBE.EMODPE, REGULAR | RW);
  trim();
  augment();
  inside('eacceptcopy', PROBE.EACCEPTCOPY, REGULAR | RW);
  trim();
  bed.leaf('EREMOVE', 0, slots);
  timed(bed, cycles, 'EPA', PT_VA, spare);
  bed.leaf('EREMOVE', 0, spare);
}
