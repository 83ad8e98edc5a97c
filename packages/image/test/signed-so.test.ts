import assert from 'node:assert/strict';
import test from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import { loadSignedSo, type MetadataInit, measureImage, openImage, parseSignedSo } from '../src/index.js';
import { plainMrenclave } from './plain-loader.js';
import { byPage, noise, plainSgxs, sampleRuns } from './samples.js';
import { GLOBAL_DATA, sampleLayout, sampleMetadata, sampleSignedSo } from './signed-so-samples.js';

const ELRANGE = {
  enclave_image_address: 0x10_0040_0000n,
  elrange_start_address: 0x10_0000_0000n,
  elrange_size: 0x100_0000n,
};
const dynamic = { layout: sampleLayout({ dynamic: true, eremove: true }) };

function measured(file: Buffer, edmm = true): string {
  return Buffer.from(measureImage(nodeHash, loadSignedSo(file, { edmm }))).toString('hex');
}

/** Both measurements of a file, which must agree. */
function same(file: Buffer, edmm = true): string {
  const { chosen } = parseSignedSo(file, { edmm });
  const expected = plainMrenclave(file, chosen.fileOffset);
  assert.equal(measured(file, edmm), expected);
  return expected;
}

test('every version of the metadata measures as the plain loader does', () => {
  const shifted = { elrange: ELRANGE, layout: sampleLayout({ shift: 0x400000n }) };
  const variants: [string, MetadataInit][] = [
    ['1.3', sampleMetadata(1, 3)],
    ['1.4', sampleMetadata(1, 4)],
    ['1.5', sampleMetadata(1, 5)],
    ['1.5 with removed threads', sampleMetadata(1, 5, { layout: sampleLayout({ eremove: true }) })],
    ['1.5 without repetitions', sampleMetadata(1, 5, { layout: sampleLayout({ threads: 0 }) })],
    ['3.3', sampleMetadata(3, 3, dynamic)],
    ['11.4', sampleMetadata(11, 4, shifted)],
    ['11.5', sampleMetadata(11, 5, shifted)],
    ['13.3', sampleMetadata(13, 3, shifted)],
  ];
  const seen = variants.map(([name, init]) => {
    return [name, same(sampleSignedSo([init]))];
  });
  const digest = new Map(seen as [string, string][]);
  assert.equal(digest.get('1.4'), digest.get('1.5'));
  assert.notEqual(digest.get('1.5'), digest.get('1.5 with removed threads'));
  assert.notEqual(digest.get('1.5'), digest.get('11.5'));
  assert.equal(digest.get('11.5'), digest.get('13.3'));
});

test('version 1.3 measures a page more after an unaligned segment', () => {
  const elf = { bss: 0x1d00 };
  assert.notEqual(
    same(sampleSignedSo([sampleMetadata(1, 3)], elf)),
    same(sampleSignedSo([sampleMetadata(1, 4)], elf)),
  );
});

test('the highest usable block is chosen; 2.x never, 3.x only with EDMM', () => {
  const blocks = [sampleMetadata(3, 3, dynamic), sampleMetadata(2, 4), sampleMetadata(1, 5)];
  const file = sampleSignedSo(blocks);
  const version = (edmm?: boolean): object => parseSignedSo(file, { edmm }).chosen.version;
  assert.deepEqual(version(), { major: 3, minor: 3 });
  assert.deepEqual(version(true), { major: 3, minor: 3 });
  assert.deepEqual(version(false), { major: 1, minor: 5 });
  assert.deepEqual(
    parseSignedSo(file).blocks.map((b) => b.version.major),
    [3, 2, 1],
  );
  same(file);
  same(file, false);
  const refused = { code: 'IMAGE_METADATA_VERSION' };
  assert.throws(() => parseSignedSo(sampleSignedSo(blocks.slice(0, 1)), { edmm: false }), refused);
  assert.throws(() => parseSignedSo(sampleSignedSo(blocks.slice(1, 2))), refused);
  assert.throws(() => parseSignedSo(sampleSignedSo([sampleMetadata(4, 0)])), refused);
});

test('patches are measured, metadata and SIGSTRUCT are not', () => {
  const plain = same(sampleSignedSo([sampleMetadata(1, 5)]));
  assert.equal(same(sampleSignedSo([sampleMetadata(1, 5, { enclave_css: noise(1808, 6) })])), plain);
  assert.equal(same(sampleSignedSo([sampleMetadata(1, 5, { attributes: { FLAGS: 6n, XFRM: 3n } })])), plain);
  const patches = [{ dst: BigInt(GLOBAL_DATA), data: noise(600, 78) }];
  assert.notEqual(same(sampleSignedSo([sampleMetadata(1, 5, { patches })])), plain);
});

test('pages with relocations become writable where DT_TEXTREL says so', () => {
  const relocations = [0x100, 0x1ffc, 0x5000];
  const flags = (textrel: boolean): number[] =>
    [...loadSignedSo(sampleSignedSo([sampleMetadata(1, 5)], { relocations, textrel })).pages()]
      .filter(({ offset }) => offset < 0x3000)
      .flatMap(({ secinfoFlags, data }) => Array<number>(data.length / 4096).fill(secinfoFlags));
  assert.deepEqual(flags(false), [0x205, 0x205, 0x205]);
  assert.deepEqual(flags(true), [0x207, 0x207, 0x207]);
  const one = { relocations: [0x1ff8], textrel: true };
  assert.deepEqual([...parseSignedSo(sampleSignedSo([sampleMetadata(1, 5)], one)).relocationPages], [1]);
  for (const elf of [{ relocations }, { relocations, textrel: true }, one])
    same(sampleSignedSo([sampleMetadata(1, 5)], elf));
});

test('contents from the metadata are always measured, and padded', () => {
  const layout = [
    ...sampleLayout(),
    {
      entry: { id: 5, attributes: 1, page_count: 3, rva: 0x200000n, si_flags: 0x203n },
      content: noise(5000, 9),
    },
    { entry: { id: 5, attributes: 8, page_count: 1, rva: 0x210000n, si_flags: 0x203n } },
  ];
  same(sampleSignedSo([sampleMetadata(1, 5, { layout })]));
});

test('threads, dynamic ranges and what a loader asks for', () => {
  const image = loadSignedSo(
    sampleSignedSo([sampleMetadata(3, 3, { ...dynamic, tcs_policy: 1, tcs_min_pool: 2 })]),
  );
  assert.equal(image.size, 0x400000);
  assert.equal(image.tcs, 5);
  assert.deepEqual(
    image.threads.map(({ dynamic: d }) => d),
    [false, false, false, true, true, true],
  );
  assert.equal(image.tcsPolicy, 'unbind');
  assert.equal(image.tcsMinPool, 2);
  assert.deepEqual(image.attributes, { FLAGS: 4n, XFRM: 0xe7n });
  assert.deepEqual(image.sigstruct, noise(1808, 5));
  const names = new Set(image.dynamic.map(({ name }) => name));
  for (const name of ['HEAP_INIT', 'HEAP_MAX', 'TCS', 'TCS_DYN', 'STACK_DYN_MAX', 'RSRV_MAX', 'USER_REGION'])
    assert.ok(names.has(name), name);
  assert.ok(!names.has('HEAP_MIN') && !names.has('GUARD'));
  const removed = image.dynamic.filter((range) => range.removed && range.name === 'TCS');
  assert.deepEqual(
    removed.map(({ added }) => added),
    [true, true],
  );
  // The TCS's offsets count from BASEADDR.
  const run = [...image.pages()].find(({ offset }) => offset === image.threads[1].offset)!;
  const view = new DataView(run.data.buffer);
  assert.equal(view.getBigUint64(16, true), BigInt(run.offset) + 0x1000n);
  assert.equal(view.getBigUint64(48, true), view.getBigUint64(56, true));
});

test('an ELRANGE sets SIZE and moves every page', () => {
  const image = loadSignedSo(
    sampleSignedSo([sampleMetadata(13, 3, { elrange: ELRANGE, layout: sampleLayout({ shift: 0x400000n }) })]),
  );
  assert.equal(image.size, 0x1000000);
  assert.deepEqual(image.elrange, ELRANGE);
  assert.equal([...image.pages()][0].offset, 0x400000);
  const run = [...image.pages()].find(({ secinfoFlags }) => secinfoFlags === 0x100)!;
  assert.equal(run.offset, image.threads[0].offset);
  assert.equal(new DataView(run.data.buffer).getBigUint64(16, true), BigInt(run.offset) + 0x1000n);
});

test('pages come out alike through buffers of every size', () => {
  const image = loadSignedSo(
    sampleSignedSo([sampleMetadata(3, 3, dynamic)], { textrel: true, relocations: [0x1100] }),
  );
  const expected = byPage(image.pages());
  for (const size of [4096, 5000, 3 * 4096, 1 << 20]) {
    const buffer = new Uint8Array(size).fill(0xaa);
    const got = new Map<number, string>();
    for (const run of image.pages({ buffer })) for (const [k, v] of byPage([run])) got.set(k, v);
    assert.deepEqual(got, expected);
  }
  assert.throws(() => [...image.pages({ buffer: new Uint8Array(4095) })], { code: 'IMAGE_LAYOUT' });
});

test('an image is opened by its magic, and does not see later changes of the bytes', () => {
  const file = sampleSignedSo([sampleMetadata(1, 5)]);
  const digest = measured(file);
  const image = openImage(file);
  file.fill(0);
  assert.equal(Buffer.from(measureImage(nodeHash, image)).toString('hex'), digest);
  assert.equal(image.format, 'intel');
  assert.equal(openImage(plainSgxs(0x10000, 1, sampleRuns()).bytes).format, 'sgxs');
  assert.throws(() => openImage(new Uint8Array(100)), { code: 'IMAGE_TAG' });
});
