/**
 * The form of app.img: one file with all that a program's enclave is made of. Integers are little-endian; sections begin
 * at multiples of 4096 in this order, without a gap.
 *
 *     header       4096 bytes: magic, u32 version, u32 SSAFRAMESIZE, u64 SECS.SIZE, u32 flags, 20 zero bytes; at 64 a row for each section
 *                  (u64 offset, u64 bytes, SHA-256, 16 zero bytes); SHA-256 of all that in the last 32 bytes
 *     signature    the SIGSTRUCT
 *     description  JSON, for people: nothing in it is believed
 *     runs         a row for each run of pages: u64 offset, u64 bytes, u32 SECINFO.FLAGS, u32 flags, u64 where in `pages`
 *     pages        contents of the runs that are not zero
 *     root         contents of the files; the measured description of the root has their digests
 */
import { SIGSTRUCT } from '@nestedsgx/arch';
import { libosError } from '../errors.js';

/** First bytes of the file. */
export const MAGIC = Buffer.from('NSGXAPP\0', 'latin1');
export const VERSION = 1;
export const HEADER_BYTES = 4096;
export const ALIGNMENT = 4096;
export const ROW_AT = 64;
export const ROW_BYTES = 64;
export const RUN_BYTES = 32;
export const DIGEST_AT = HEADER_BYTES - 32;
/** Bits of the header's flags. */
export const AT_ZERO = 1;
/** Bits of a run's flags. */
export const RUN_MEASURED = 1;
export const RUN_ZERO = 2;

/** The sections in their order, with the most bytes that each may have. */
export const SECTIONS = Object.freeze([
  { name: 'signature', limit: SIGSTRUCT.size },
  { name: 'description', limit: 4 * 2 ** 20 },
  { name: 'runs', limit: 2 ** 20 * RUN_BYTES },
  { name: 'pages', limit: 2 ** 36 },
  { name: 'root', limit: 2 ** 40 },
] as const);

/** The name of a section. */
export type SectionName = (typeof SECTIONS)[number]['name'];

/** Where a section is. */
export interface Section {
  readonly offset: number;
  readonly length: number;
  readonly sha256: Uint8Array;
}

/** What the header says. */
export interface AppHeader {
  readonly size: number;
  readonly ssaFrameSize: number;
  /** BASEADDR must be 0. */
  readonly atZero: boolean;
  readonly sections: Readonly<Record<SectionName, Section>>;
}

/** Rounds up to where the next section begins. */
export const aligned = (n: number) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;

/** An error of a file that is not as it must be. */
export function malformed(path: string, what: string) {
  return libosError('APP_IMAGE_MALFORMED', `${path} ${what}`, {
    advice: 'Build it again with nsgx image build, or copy it again.',
  });
}
