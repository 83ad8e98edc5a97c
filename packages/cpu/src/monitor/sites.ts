import { MAX_SITES } from '../layout/memory.js';

/** Leaves whose `mov` is replaced; a site with another number traps and is judged there. */
const LEAF_MAX = 0x0c;
const ENCLU = Buffer.from([0x0f, 0x01, 0xd7]);
const PAGE = 4096;
/** ENCLUs looked at in one search: code that consists of nothing else must not hold up the monitor. */
const SEEN_MAX = 16_384;

/** A `mov $leaf,%eax` or `%rax` directly before an ENCLU. */
export interface EncluSite {
  /** Offset of the mov in the searched bytes. */
  mov: number;
  /** 5: B8 imm32. 7: REX.W C7 /0 imm32. */
  movBytes: 5 | 7;
  /** Offset of the ENCLU. */
  enclu: number;
  leaf: number;
  /** Mov and ENCLU lie on one page: then the mov can be replaced, else only the ENCLU's first byte. */
  whole: boolean;
}

/** Operand size: a processor may take a jump behind it for a 16-bit one. */
const SIZE_PREFIX = 0x66;
/** Before the short mov these make it another mov; before the REX prefix of the long one another REX counts for nothing. */
const isPrefix = (byte: number) => (byte & 0xf0) === 0x40 || byte === SIZE_PREFIX;

/**
 * Finds the ENCLU sites of executable bytes that start on a page boundary. A mov that an earlier prefix turns into
 * another one is not a site.
 */
export function findEncluSites(code: Uint8Array, limit = MAX_SITES): EncluSite[] {
  const bytes = Buffer.from(code.buffer, code.byteOffset, code.byteLength);
  const sites: EncluSite[] = [];
  let seen = 0;
  for (let at = bytes.indexOf(ENCLU); at >= 0 && sites.length < limit; at = bytes.indexOf(ENCLU, at + 3)) {
    if (++seen > SEEN_MAX) break;
    const leaf = at >= 4 ? bytes.readUInt32LE(at - 4) : LEAF_MAX + 1;
    if (leaf > LEAF_MAX) continue;
    const long =
      at >= 8 &&
      bytes[at - 8] !== SIZE_PREFIX &&
      bytes[at - 7] === 0x48 &&
      bytes[at - 6] === 0xc7 &&
      bytes[at - 5] === 0xc0;
    const short = at >= 6 && bytes[at - 5] === 0xb8 && !isPrefix(bytes[at - 6]!);
    if (!long && !short) continue;
    const movBytes = long ? 7 : 5;
    const inPage = at % PAGE;
    sites.push({
      mov: at - movBytes,
      movBytes,
      enclu: at,
      leaf,
      whole: inPage >= movBytes && inPage <= PAGE - 3,
    });
  }
  return sites;
}
