/** Firmware images made for tests: nothing but the table and the metadata that hypervisors read. */
import { guidBytes } from '../src/index.js';

export interface SyntheticFirmware {
  pages?: number;
  /** Entries of the table besides the metadata, last one nearest to the footer. */
  entries?: readonly (readonly [guid: string, data: Uint8Array])[];
  sections?: readonly (readonly [gpa: number, size: number, type: number])[];
  version?: number;
}

export const RESET_BLOCK = '00f771de-1a7e-4fcb-890e-68c77e2fb44e';
export const HASH_TABLE = '7255371f-3a3b-4b04-927b-1da6efa8d454';
export const SVSM_INFO = 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd';
const METADATA = 'dc886566-984a-4798-a75e-5585a7bf67cc';
const FOOTER = '96b582de-1fb2-45f7-baea-a366c55a082d';

export function u32(...values: number[]): Uint8Array {
  const b = new Uint8Array(4 * values.length);
  values.forEach((value, i) => {
    new DataView(b.buffer).setUint32(4 * i, value, true);
  });
  return b;
}

function entry(guid: string, data: Uint8Array, size = data.length + 18): Uint8Array {
  const b = new Uint8Array(data.length + 18);
  b.set(data);
  new DataView(b.buffer).setUint16(data.length, size, true);
  b.set(guidBytes(guid), data.length + 2);
  return b;
}

/** The image: metadata far from the end, the table 32 bytes before it. */
export function synthesize(options: SyntheticFirmware): Uint8Array {
  const { pages = 1, sections = [], version = 1 } = options;
  const image = new Uint8Array(4096 * pages);
  const place = 2048;
  image.set(u32(0x56455341, 16 + 12 * sections.length, version, sections.length), image.length - place);
  sections.forEach((section, i) => {
    image.set(u32(...section), image.length - place + 16 + 12 * i);
  });
  const items = [
    entry(METADATA, u32(place)),
    ...(options.entries ?? []).map(([guid, data]) => entry(guid, data)),
  ];
  const size = items.reduce((sum, item) => sum + item.length, 0) + 18;
  items.push(entry(FOOTER, new Uint8Array(0), size));
  let at = image.length - 32 - size;
  for (const item of items) {
    image.set(item, at);
    at += item.length;
  }
  return image;
}

const LOW = [
  [0x80_0000, 0x9000, 1],
  [0x80_a000, 0x3000, 1],
  [0x80_d000, 0x1000, 2],
  [0x80_e000, 0x1000, 3],
  [0x80_f000, 0x1000, 4],
] as const;

/** As edk2's AmdSev build lays memory out: it checks kernels by their hashes. */
export const AMD_SEV: SyntheticFirmware = {
  entries: [
    [HASH_TABLE, u32(0x81_0c00, 0x400)],
    [RESET_BLOCK, u32(0x80_b004)],
  ],
  sections: [...LOW, [0x81_0000, 0x1000, 0x10], [0x81_1000, 0xf000, 1]],
};

/** As edk2's usual build: no kernel hashes. */
export const OVMF_X64: SyntheticFirmware = {
  entries: [
    [HASH_TABLE, u32(0, 0)],
    [RESET_BLOCK, u32(0x80_b004)],
  ],
  sections: [...LOW, [0x81_0000, 0x10000, 1]],
};

/** As Coconut's SVSM. */
export const SVSM: SyntheticFirmware = {
  pages: 278,
  entries: [[SVSM_INFO, u32(0)]],
  sections: [
    [0, 0x9e000, 1],
    [0x9e000, 0x1000, 2],
    [0x9f000, 0x1000, 3],
  ],
};
