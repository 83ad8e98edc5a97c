/** Replaces sites by jumps, and writes the code that they jump to. */
import type { Program } from '../elf/program.js';
import type { SiteScan } from './sites.js';

/** A program's segments with jumps in them. */
export interface Rewritten {
  /** The file's bytes, changed in executable segments. */
  readonly bytes: Uint8Array;
  /** Code for the page behind the program, `trampolinesAt` when linked. */
  readonly trampolines: Uint8Array;
}

/** Where the address of the entry for system calls is, from GS on (native/src/entry.S). */
const ENTRY = 1064;

/**
 * Rewrites a program. All addresses are as linked: `trampolinesAt` is where the new code will be. It does the same wherever the
 * program is, and enters the library OS with the address to go on from in RCX.
 */
export function rewrite(program: Program, { sites }: SiteScan, trampolinesAt: number): Rewritten {
  const bytes = program.bytes.slice();
  const code: number[] = [];
  const rel32 = (to: number, from: number) => {
    const distance = to - from;
    if (distance !== (distance | 0)) throw new RangeError('a jump is out of reach');
    return [distance & 255, (distance >> 8) & 255, (distance >> 16) & 255, (distance >> 24) & 255];
  };
  const here = () => trampolinesAt + code.length;
  for (const site of sites) {
    const segment = program.segments.find((s) => site.at >= s.address && site.at < s.address + s.fileSize);
    if (segment === undefined) continue;
    const from = segment.offset + site.at - segment.address;
    bytes.set([0xe9, ...rel32(here(), site.at + 5)], from);
    code.push(...site.before);
    // lea back(%rip),%rcx; jmp *%gs:ENTRY
    const back = site.after.length === 0 ? site.next : here() + 7 + 8;
    code.push(0x48, 0x8d, 0x0d, ...rel32(back, here() + 7));
    code.push(0x65, 0xff, 0x24, 0x25, ENTRY & 255, ENTRY >> 8, 0, 0);
    if (site.after.length > 0) {
      code.push(...site.after);
      code.push(0xe9, ...rel32(site.next, here() + 5));
    }
  }
  return { bytes, trampolines: Uint8Array.from(code) };
}

/** Bytes of the trampolines of these sites. */
export function trampolineBytes({ sites }: SiteScan): number {
  return sites.reduce(
    (sum, site) => sum + site.before.length + 15 + (site.after.length > 0 ? site.after.length + 5 : 0),
    0,
  );
}
