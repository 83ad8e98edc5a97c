/** The pages of a program at their place: segments as the kernel or the loader would map them, and its trampolines. */
import { PT_REG, SECINFO_R, SECINFO_W, SECINFO_X } from '@nestedsgx/arch';
import type { PageRun } from '@nestedsgx/image';
import type { Program } from '../elf/program.js';
import { rewrite, trampolineBytes } from '../rewrite/rewrite.js';
import type { SiteScan } from '../rewrite/sites.js';

const PAGE = 4096;
const REG = PT_REG << 8;

/** Rounds up to whole pages, or another power of two. */
export const roundUp = (n: number, to = PAGE) => Math.ceil(n / to) * to;
const roundDown = (n: number) => Math.floor(n / PAGE) * PAGE;

/** A program in the image. Offsets are from the enclave's base. */
export interface Placed {
  readonly program: Program;
  /** Add this to an address as linked. */
  readonly bias: number;
  /** Where the loader finds it, and how far it reaches. */
  readonly offset: number;
  readonly size: number;
  readonly runs: readonly PageRun[];
  readonly end: number;
  /** SYSCALL instructions that were replaced, and that trap. */
  readonly rewritten: number;
  readonly trapping: number;
}

/** Places a program at `from` or above. */
export function placeProgram(program: Program, scan: SiteScan, from: number): Placed {
  const first = program.segments[0];
  const last = program.segments.at(-1)!;
  const low = roundDown(first.address);
  const size = roundUp(last.address + last.memorySize) - low;
  const offset = roundUp(from, Math.max(...program.segments.map(({ align }) => align)));
  const bias = offset - low;

  const { bytes, trampolines } = rewrite(program, scan, low + size);
  const runs: PageRun[] = program.segments.map((segment) => {
    const start = roundDown(segment.address);
    const data = new Uint8Array(roundUp(segment.address + segment.memorySize) - start);
    // What stands before the segment in the same page of the file is mapped with it.
    const lead = segment.address - start;
    data.set(bytes.subarray(segment.offset - lead, segment.offset + segment.fileSize));
    const flags =
      REG |
      (segment.readable ? SECINFO_R : 0) |
      (segment.writable ? SECINFO_W : 0) |
      (segment.executable ? SECINFO_X : 0);
    return { offset: start + bias, secinfoFlags: flags, data, measured: true };
  });
  let end = offset + size;
  if (trampolines.length > 0) {
    const data = new Uint8Array(roundUp(trampolineBytes(scan)));
    data.set(trampolines);
    runs.push({ offset: end, secinfoFlags: REG | SECINFO_R | SECINFO_X, data, measured: true });
    end += data.length;
  }
  return {
    ...{ program, bias, offset, size, runs, end },
    rewritten: scan.sites.length,
    trapping: scan.trapping.length,
  };
}

/** A binary that is only loaded at run time: its bytes with jumps, and what they jump to behind its last page. */
export function rewriteForLoading(program: Program, scan: SiteScan) {
  const low = roundDown(program.segments[0].address);
  const last = program.segments.at(-1)!;
  const span = roundUp(last.address + last.memorySize) - low;
  return { ...rewrite(program, scan, low + span), span };
}
