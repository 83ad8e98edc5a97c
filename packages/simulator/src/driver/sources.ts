/** Operand contents that do not change: source pages of EADD, kinds of SECS. */
import { SECS, type Secs, type StructInit, TCS, type Tcs } from '@nestedsgx/arch';
import { AT, BASES, ELRANGE, PAGE, SOURCE, SOURCES } from '../layout.js';

const GOOD_TCS: StructInit<Tcs> = {
  OSSA: 0x2000n,
  NSSA: 2,
  OENTRY: 0x6000n,
  FSLIMIT: 0xfff,
  GSLIMIT: 0xfff,
};

/** Lays the source pages into guest RAM. */
export function writeSources(ram: Uint8Array): void {
  const tcs: Record<number, StructInit<Tcs>> = {
    [SOURCE.TCS]: { ...GOOD_TCS, AEP: 5n, CSSA: 1, STATE: 9n },
    [SOURCE.TCS_ONE]: { ...GOOD_TCS, OSSA: 0x4000n, NSSA: 1 },
    [SOURCE.TCS_RESERVED]: { ...GOOD_TCS, FLAGS: 4n },
    [SOURCE.TCS_BAD_LIMITS]: { ...GOOD_TCS, FSLIMIT: 0x10 },
    [SOURCE.TCS_OSSA_UNALIGNED]: { ...GOOD_TCS, OSSA: 0x2008n },
    [SOURCE.TCS_BASES_UNALIGNED]: { ...GOOD_TCS, OFSBASE: 0x10n },
    [SOURCE.TCS_NO_SSA]: { ...GOOD_TCS, NSSA: 0 },
    [SOURCE.TCS_DBGOPTIN]: { ...GOOD_TCS, FLAGS: 1n },
    [SOURCE.TCS_BASE_FAR]: { ...GOOD_TCS, OGSBASE: 0x8000_0000_0000n },
    [SOURCE.TCS_ENTRY_FAR]: { ...GOOD_TCS, OENTRY: 0x8000_0000_0000n },
    [SOURCE.TCS_AEXNOTIFY]: { ...GOOD_TCS, FLAGS: 2n },
  };
  for (let i = 0; i < SOURCES; i++) {
    const page = ram.subarray(AT.SOURCES + i * PAGE, AT.SOURCES + (i + 1) * PAGE);
    const fields = tcs[i];
    if (fields !== undefined) TCS.encodeInto(fields, page);
    else for (let at = 0; at < PAGE; at++) page[at] = i === SOURCE.PATTERN ? (at * 7 + (at >> 8)) & 0xff : 0;
  }
}

/** Bytes of a TCS that makes a thread, for enclaves that make one at run time. */
export const TCS_HEAD = TCS.encode(GOOD_TCS).subarray(0, 72);

const GOOD: StructInit<Secs> = {
  SIZE: BigInt(ELRANGE),
  SSAFRAMESIZE: 1,
  ATTRIBUTES: { FLAGS: 4n, XFRM: 3n },
};

/** Kinds of SECS: flags of the enclave first, then what ECREATE refuses. */
const SECS_KINDS: readonly { name: string; fields: StructInit<Secs>; poke?: [at: number, value: number] }[] =
  [
    { name: 'plain', fields: GOOD },
    { name: 'debug', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 6n, XFRM: 3n } } },
    { name: 'kss', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 0x84n, XFRM: 7n }, CONFIGSVN: 2 } },
    { name: 'provision', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 0x16n, XFRM: 3n } } },
    { name: 'token-key', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 0x26n, XFRM: 3n } } },
    { name: 'aex-notify', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 0x406n, XFRM: 3n } } },
    { name: '32-bit', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 0n, XFRM: 3n } } },
    {
      name: 'wide-frames',
      fields: { ...GOOD, SSAFRAMESIZE: 2, MISCSELECT: 1, ATTRIBUTES: { FLAGS: 6n, XFRM: 0xe7n } },
    },
    { name: 'init-bit', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 5n, XFRM: 3n } } },
    { name: 'xfrm-legacy', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 4n, XFRM: 1n } } },
    { name: 'xfrm-illegal', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 4n, XFRM: 0x27n } } },
    { name: 'cet', fields: { ...GOOD, CET_ATTRIBUTES: 1 } },
    { name: 'misc', fields: { ...GOOD, MISCSELECT: 2 } },
    { name: 'no-ssa-frame', fields: { ...GOOD, SSAFRAMESIZE: 0 } },
    { name: 'base-high', fields: { ...GOOD, BASEADDR: 0x8000_0000_0000n } },
    {
      name: 'base-above-4g',
      fields: { ...GOOD, BASEADDR: 0x1_0000_0000n, ATTRIBUTES: { FLAGS: 0n, XFRM: 3n } },
    },
    { name: 'size-32', fields: { ...GOOD, SIZE: 1n << 32n, ATTRIBUTES: { FLAGS: 0n, XFRM: 3n } } },
    { name: 'size-64', fields: { ...GOOD, SIZE: 1n << 40n } },
    { name: 'size-odd', fields: { ...GOOD, SIZE: 0x3000n } },
    { name: 'size-small', fields: { ...GOOD, SIZE: 0x1000n } },
    { name: 'base-unaligned', fields: { ...GOOD, BASEADDR: 0x1000n } },
    { name: 'attributes', fields: { ...GOOD, ATTRIBUTES: { FLAGS: 12n, XFRM: 3n } } },
    { name: 'reserved', fields: GOOD, poke: [100, 1] },
    { name: 'config-without-kss', fields: { ...GOOD, CONFIGSVN: 1 } },
  ];

/** How many kinds of SECS there are, and how many of them ECREATE takes. */
export const SECS_ALL = SECS_KINDS.length;
export const SECS_GOOD = 8;

const encoded = SECS_KINDS.map(({ fields, poke }) =>
  BASES.map((base) => {
    const bytes = SECS.encode({ BASEADDR: BigInt(base), ...fields });
    if (poke !== undefined) bytes[poke[0]] = poke[1];
    return bytes;
  }),
);

/** The SECS page of a kind at one of the bases. */
export function secsPage(kind: number, base: number): Uint8Array {
  return encoded[kind][base % BASES.length];
}
