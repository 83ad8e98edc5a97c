import type { EnclaveMemory, PageRange } from '@nestedsgx/arch';
import { MAX_SITES, RUNNER_MEMORY } from '../layout/memory.js';
import { type EncluSite, findEncluSites } from './sites.js';
import { shortJump, slotAddress, slotJump, TRAMPOLINE_BYTES, trampoline } from './trampoline.js';

const PAGE = 4096;
const SEARCH_RUN = 1 << 20;
/** Executable bytes searched per enclave; code beyond this traps. */
const SEARCH_MAX = 256 << 20;

/** What trampolines need to know of the runner. */
export interface StubFacts {
  selector: number;
  patchedEnclu: number;
}

/** A piece of the overlay file and where it is mapped. */
export interface OverlayPiece {
  address: number;
  offset: number;
  length: number;
  executable: boolean;
}

/** Patched copies of code pages, with everything that they jump to. The enclave's own memory is left as it is. */
export interface Overlay {
  /** Contents of the overlay file. */
  bytes: Uint8Array;
  /** Slots and trampolines. */
  stub: OverlayPiece[];
  /** Offsets in the ELRANGE of patched pages, ascending, with their offset in the file. */
  pages: { offset: number; fileOffset: number }[];
  sites: { enclu: number; leaf: number }[];
}

const roundUp = (bytes: number) => Math.ceil(bytes / PAGE) * PAGE;

interface Found extends EncluSite {
  /** Offset in the ELRANGE of the bytes that were searched. */
  run: number;
}

function search(memory: EnclaveMemory, ranges: readonly PageRange[]): Found[] {
  const found: Found[] = [];
  let searched = 0;
  for (const range of ranges) {
    if (!range.x || range.w || !range.r) continue;
    for (let done = 0; done < range.length && searched < SEARCH_MAX; done += SEARCH_RUN) {
      const length = Math.min(SEARCH_RUN, range.length - done);
      searched += length;
      const run = range.offset + done;
      for (const site of findEncluSites(memory.read(run, length), MAX_SITES - 1 - found.length))
        found.push({ ...site, run });
      if (found.length >= MAX_SITES - 1) return found;
    }
  }
  return found;
}

/** Where trampolines beside the ELRANGE may lie: `near(bytes)` lists start addresses to try, best first. */
export type NearPlaces = (bytes: number) => number[];

/**
 * Prepares the overlay of an enclave. Returns null when nothing can be patched.
 *
 * @param base BASEADDR
 * @param ranges pages of the enclave; only executable ones that cannot be written are patched
 */
export function buildOverlay(
  base: number,
  memory: EnclaveMemory,
  ranges: readonly PageRange[],
  facts: StubFacts,
  near: NearPlaces,
): Overlay | null {
  const found = search(memory, ranges);
  if (found.length === 0) return null;
  const trampolineBytes = roundUp(found.length * TRAMPOLINE_BYTES);
  const slotsBytes = roundUp((found.length + 1) * 8);
  const lowest = Math.min(...found.map((site) => base + site.run + site.mov));
  const highest = Math.max(...found.map((site) => base + site.run + site.mov));
  const reaches = (at: number) => {
    const end = at + trampolineBytes;
    return Math.max(end, highest) - Math.min(at, lowest) < 0x7fff_0000;
  };
  const nearAt = near(trampolineBytes).find(reaches);

  const slots = new BigUint64Array(slotsBytes / 8);
  slots[0] = BigInt(facts.patchedEnclu);
  const stubCode = new Uint8Array(trampolineBytes).fill(0xcc);
  const patches = new Map<number, Uint8Array>();
  const sites: Overlay['sites'] = [];
  for (const site of found) {
    const index = sites.length;
    const from = base + site.run + site.mov;
    const inStub = index * TRAMPOLINE_BYTES;
    let jump: Uint8Array | null = null;
    if (site.movBytes === 7) {
      slots[index + 1] = BigInt(RUNNER_MEMORY.TRAMPOLINES + inStub);
      jump = slotJump(index + 1);
    } else if (nearAt !== undefined) {
      jump = shortJump(from, nearAt + inStub);
    }
    if (!jump) continue;
    stubCode.set(trampoline(index, facts.selector), inStub);
    sites.push({ enclu: base + site.run + site.enclu, leaf: site.leaf });
    const page = site.run + site.mov - (site.mov % PAGE);
    let copy = patches.get(page);
    if (!copy) {
      copy = memory.read(page, PAGE);
      patches.set(page, copy);
    }
    copy.set(jump, site.mov % PAGE);
  }
  if (sites.length === 0) return null;

  const pages = [...patches.keys()].sort((a, b) => a - b);
  const pagesAt = slotsBytes + trampolineBytes;
  const bytes = new Uint8Array(pagesAt + pages.length * PAGE);
  bytes.set(new Uint8Array(slots.buffer), 0);
  bytes.set(stubCode, slotsBytes);
  pages.forEach((page, i) => {
    bytes.set(patches.get(page)!, pagesAt + i * PAGE);
  });
  const stub: OverlayPiece[] = [
    { address: slotAddress(0), offset: 0, length: slotsBytes, executable: false },
    { address: RUNNER_MEMORY.TRAMPOLINES, offset: slotsBytes, length: trampolineBytes, executable: true },
  ];
  if (nearAt !== undefined)
    stub.push({ address: nearAt, offset: slotsBytes, length: trampolineBytes, executable: true });
  return {
    bytes,
    stub,
    pages: pages.map((offset, i) => ({ offset, fileOffset: pagesAt + i * PAGE })),
    sites,
  };
}
