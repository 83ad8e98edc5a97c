import assert from 'node:assert/strict';
import test from 'node:test';
import { loadSignedSo, type SharedObjectEntry, writeMetadataSection } from '../src/index.js';
import { buildElf, DATA_FILE, DATA_RVA, sampleMetadata, sampleSignedSo } from './signed-so-samples.js';

const MEM = 0x30_0000n;
const second = buildElf(writeMetadataSection([]), { bss: 0x100 });

function pair(change: Partial<SharedObjectEntry> = {}, provider: Buffer = second): Buffer {
  const signed = (file_offset: bigint): Buffer =>
    sampleSignedSo([
      sampleMetadata(1, 5, {
        sharedObject: { file_offset, mem_offset: MEM, size: BigInt(provider.length), ...change },
      }),
    ]);
  return Buffer.concat([signed(BigInt(signed(0n).length)), provider]);
}

const changed = (change: (b: Buffer) => void): Buffer => {
  const out = Buffer.from(second);
  change(out);
  return out;
};

test('the segments of a second shared object lie at mem_offset, after those of the enclave', () => {
  const pages = new Map<number, { flags: number; data: Buffer; order: number }>();
  for (const run of loadSignedSo(pair()).pages())
    for (let at = 0; at < run.data.length; at += 4096) {
      const data = Buffer.from(run.data.subarray(at, at + 4096));
      pages.set(run.offset + at, { flags: run.secinfoFlags, data, order: pages.size });
    }
  const code = pages.get(Number(MEM))!;
  assert.deepEqual([code.flags, code.data], [0x205, second.subarray(0, 4096)]);
  const data = pages.get(Number(MEM) + 0x4000)!;
  assert.deepEqual(
    [data.flags, data.data.subarray(0xe10)],
    [0x203, second.subarray(DATA_FILE, DATA_FILE + 0x1f0)],
  );
  const last = pages.get(Number(MEM) + 0x6000);
  assert.deepEqual(last!.data.subarray(0x210), Buffer.alloc(0xdf0), 'what no file bytes fill is zero');
  const own = pages.get(DATA_RVA - 0xe10)!;
  const heap = pages.get(0x9000)!;
  assert.ok(own.order < code.order && last!.order < heap.order, 'before heap and threads');
  const without = [...loadSignedSo(sampleSignedSo([sampleMetadata(1, 5)])).pages()];
  assert.ok(!without.some(({ offset }) => offset >= Number(MEM)));
});

test('damaged second shared objects are refused', () => {
  const cases: [file: Buffer, code: string, message: RegExp][] = [
    [pair({ file_offset: 1n << 63n }), 'IMAGE_METADATA', /file_offset is 0x8000000000000000/],
    [pair({ size: BigInt(second.length) + 1n }), 'IMAGE_METADATA', /ends after the file/],
    [pair({ size: (1n << 64n) - 1n }), 'IMAGE_METADATA', /size is 0xffffffffffffffff/],
    [pair({ size: 63n }), 'IMAGE_TRUNCATED', /second shared object/],
    [pair({ mem_offset: MEM + 1n }), 'IMAGE_METADATA', /not a multiple of 0x1000/],
    [pair({ mem_offset: 0x40_0000n }), 'IMAGE_METADATA', /beyond enclave_size/],
    [pair({ mem_offset: 0x3f_f000n }), 'IMAGE_ELF', /ends after enclave_size/],
    [pair({ mem_offset: 0x4000n }), 'IMAGE_METADATA', /segments end at/],
    [pair({ mem_offset: 0x9000n }), 'IMAGE_DUPLICATE_PAGE', /added twice/],
    [
      pair(
        {},
        changed((b) => b.writeUInt8(0, 0)),
      ),
      'IMAGE_ELF',
      /second shared object/,
    ],
    [
      pair(
        {},
        changed((b) => b.writeBigUInt64LE(1n << 40n, 64 + 32)),
      ),
      'IMAGE_TRUNCATED',
      /second shared/,
    ],
    [
      pair(
        {},
        changed((b) => b.writeUInt32LE(7, 64 + 112)),
      ),
      'IMAGE_ELF',
      /PT_TLS|dynamic section/,
    ],
  ];
  for (const [file, code, message] of cases) assert.throws(() => loadSignedSo(file), { code, message });
});
