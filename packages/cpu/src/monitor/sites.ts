import { MAX_SITES } from '../layout/memory.js';

/** Leaves whose `mov` is replaced; a site with another number traps and is judged there. */
const LEAF_MAX = 0x0c;
const ENCLU = Buffer.from([0x0f, 0x01, 0xd7]);
const PAGE = 4096;
/** ENCLUs looked at in one search: code that consists of nothing else must not hold up the monitor. */
const SEEN_MAX = 16_384;

/** Longest code between a mov and its ENCLU: Intel's trusted runtime clears the registers there before an OCALL leaves. */
export const GAP_MAX = 48;
const NO_GAP = new Uint8Array(0);

/** A `mov $leaf,%eax` or `%rax` before an ENCLU: directly, or with instructions between that may run elsewhere. */
export interface EncluSite {
  /** Offset of the mov in the searched bytes. */
  mov: number;
  /** 5: B8 imm32. 7: REX.W C7 /0 imm32. */
  movBytes: 5 | 7;
  /** The code between mov and ENCLU. */
  gap: Uint8Array;
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
    const inPage = at % PAGE;
    const direct = movBefore(bytes, at);
    if (direct !== null) {
      const { leaf, movBytes } = direct;
      const whole = inPage >= movBytes && inPage <= PAGE - 3;
      sites.push({ mov: at - movBytes, movBytes, gap: NO_GAP, enclu: at, leaf, whole });
      continue;
    }
    const distant = inPage <= PAGE - 3 ? withGap(bytes, at) : null;
    if (distant !== null) sites.push(distant);
  }
  return sites;
}

/** The mov that ends at `end`. */
function movBefore(bytes: Buffer, end: number): Pick<EncluSite, 'leaf' | 'movBytes'> | null {
  const leaf = end >= 4 ? bytes.readUInt32LE(end - 4) : LEAF_MAX + 1;
  if (leaf > LEAF_MAX) return null;
  const long =
    end >= 8 &&
    bytes[end - 8] !== SIZE_PREFIX &&
    bytes[end - 7] === 0x48 &&
    bytes[end - 6] === 0xc7 &&
    bytes[end - 5] === 0xc0;
  if (long) return { leaf, movBytes: 7 };
  return end >= 6 && bytes[end - 5] === 0xb8 && !isPrefix(bytes[end - 6]!) ? { leaf, movBytes: 5 } : null;
}

/** A site whose mov stands further up on the page of its ENCLU. */
function withGap(bytes: Buffer, enclu: number): EncluSite | null {
  const room = Math.min(GAP_MAX, enclu % PAGE);
  for (let length = 1; length <= room; length++) {
    const found = movBefore(bytes, enclu - length);
    if (found === null || (enclu % PAGE) - length < found.movBytes) continue;
    const gap = bytes.subarray(enclu - length, enclu);
    if (!relocatable(gap)) continue;
    const mov = enclu - length - found.movBytes;
    return { ...found, mov, gap: Uint8Array.from(gap), enclu, whole: true };
  }
  return null;
}

/** Whether code consists of CLC, CLD and 64-bit XOR and ADD of registers other than RAX: it can neither fault nor branch. */
function relocatable(code: Uint8Array): boolean {
  for (let at = 0; at < code.length; ) {
    const first = code[at]!;
    if (first === 0xf8 || first === 0xfc) {
      at++;
      continue;
    }
    // REX.W with R and B, XOR or ADD r/m64, r64, two registers.
    if ((first & 0xfa) !== 0x48 || at + 3 > code.length) return false;
    const operands = code[at + 2]!;
    if ((code[at + 1] !== 0x31 && code[at + 1] !== 0x01) || operands < 0xc0) return false;
    const from = ((operands >> 3) & 7) | ((first & 4) << 1);
    const to = (operands & 7) | ((first & 1) << 3);
    if (from === 0 || to === 0) return false;
    at += 3;
  }
  return true;
}
