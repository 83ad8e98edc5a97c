import assert from 'node:assert/strict';
import test from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import fc from 'fast-check';
import {
  type EnclaveImage,
  imageToSgxs,
  measureImage,
  type PageRun,
  readSgxs,
  SgxsWriter,
  writeSgxs,
} from '../src/index.js';
import { byPage, noise, plainSgxs, sampleRuns } from './samples.js';

const SIZE = 0x10000;
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
const runs = sampleRuns();
const sample = plainSgxs(SIZE, 1, runs);

function refuses(f: () => unknown, code: string, ...words: (string | RegExp)[]): void {
  assert.throws(f, (e) => {
    assert.ok(e instanceof NsgxError, String(e));
    assert.equal(e.code, code, e.message);
    for (const w of words) assert.match(e.message, w instanceof RegExp ? w : new RegExp(w));
    return true;
  });
}

test('the writer gives the bytes of the plain stream, and reading gives the pages back', () => {
  const written = writeSgxs({ size: SIZE, ssaFrameSize: 1, pages: runs });
  assert.equal(Buffer.compare(written, sample.bytes), 0);
  const image = readSgxs(written);
  assert.equal(image.size, SIZE);
  assert.equal(image.ssaFrameSize, 1);
  assert.equal(image.tcs, 1);
  assert.deepEqual(image.totals(), { pages: 11, measuredPages: 7, tcs: 1 });
  assert.deepEqual(byPage(image.pages()), byPage(runs));
  assert.equal(hex(image.mrenclave(nodeHash)), sample.mrenclave);
  assert.equal(Buffer.compare(imageToSgxs(image), sample.bytes), 0);
});

test('measuring page runs gives the MRENCLAVE of the stream', () => {
  const inner = readSgxs(sample.bytes);
  // Not an SgxsImage, so that it is measured through its pages.
  const image: EnclaveImage = {
    format: 'intel',
    size: inner.size,
    ssaFrameSize: inner.ssaFrameSize,
    miscselect: 0,
    attributes: inner.attributes,
    tcs: 1,
    pages: (o) => inner.pages(o),
  };
  assert.equal(hex(measureImage(nodeHash, image)), sample.mrenclave);
  assert.equal(hex(measureImage(nodeHash, inner)), sample.mrenclave);
});

test('unmeasured data are not in MRENCLAVE; zero chunks may be there or not', () => {
  const long = plainSgxs(SIZE, 1, runs, true);
  assert.ok(long.bytes.length > sample.bytes.length);
  assert.equal(long.mrenclave, sample.mrenclave);
  assert.deepEqual(byPage(readSgxs(long.bytes).pages()), byPage(runs));
  assert.equal(hex(readSgxs(long.bytes).mrenclave(nodeHash)), sample.mrenclave);
});

test('runs are as long as flags and contiguity allow, within 1 MiB or the buffer given', () => {
  const pages = 700;
  const big: PageRun = { offset: 0, secinfoFlags: 0x203, data: noise(pages * 4096, 4), measured: true };
  const bytes = writeSgxs({ size: 2 ** 22, ssaFrameSize: 1, pages: [big] });
  const image = readSgxs(bytes);
  const got = [...image.pages()];
  assert.ok(got.length <= 4, `${got.length} runs`);
  assert.deepEqual(byPage(got), byPage([big]));
  const buffer = new Uint8Array(10 * 4096 + 100);
  let at = 0;
  for (const run of image.pages({ buffer })) {
    assert.equal(run.data.buffer, buffer.buffer);
    assert.ok(run.data.length <= 10 * 4096);
    assert.equal(Buffer.compare(run.data, big.data.subarray(at, at + run.data.length)), 0);
    at += run.data.length;
  }
  assert.equal(at, pages * 4096);
  refuses(() => [...image.pages({ buffer: new Uint8Array(4095) })], 'IMAGE_LAYOUT');
});

test('an iteration that is left early, and two at once, do no harm', () => {
  const image = readSgxs(sample.bytes);
  for (const _ of image.pages()) break;
  const a = image.pages()[Symbol.iterator]();
  const b = image.pages()[Symbol.iterator]();
  a.next();
  const first = b.next().value as PageRun;
  a.next();
  assert.equal(Buffer.compare(first.data, runs[0].data), 0);
});

test('pages may come in any order but only once', () => {
  const one = (offset: number): PageRun => ({
    offset,
    secinfoFlags: 0x203,
    data: noise(4096, offset),
    measured: true,
  });
  const order = [3, 4, 5, 1, 2, 9, 0].map((p) => one(p * 4096));
  const shuffled = plainSgxs(SIZE, 1, order);
  assert.deepEqual(byPage(readSgxs(shuffled.bytes).pages()), byPage(order));
  for (const twice of [3, 5, 1, 9, 0]) {
    refuses(
      () => readSgxs(plainSgxs(SIZE, 1, [...order, one(twice * 4096)]).bytes),
      'IMAGE_DUPLICATE_PAGE',
      'EADD at offset',
      `0x${(twice * 4096).toString(16)}`,
    );
  }
  const many = Array.from({ length: 3000 }, (_, i) => ({
    ...one(0),
    offset: i * 8192,
    data: new Uint8Array(4096),
    measured: false,
  }));
  const scattered = plainSgxs(2 ** 25, 1, many);
  assert.equal(readSgxs(scattered.bytes).totals().pages, 3000);
  refuses(() => readSgxs(plainSgxs(2 ** 25, 1, [...many, many[2500]]).bytes), 'IMAGE_DUPLICATE_PAGE');
});

test('damage names the chunk and its offset', () => {
  const broken = (change: (b: Buffer) => Buffer | undefined): Buffer => {
    const b = Buffer.from(sample.bytes);
    return change(b) ?? b;
  };
  const set = (at: number, v: number) =>
    broken((b) => {
      b[at] = v;
      return b;
    });
  const EADD = 64;
  const EEXTEND = 128;
  const cases: [Buffer, string, string][] = [
    [Buffer.alloc(0), 'IMAGE_TRUNCATED', 'ECREATE'],
    [broken((b) => b.subarray(0, 63)), 'IMAGE_TRUNCATED', 'offset 63'],
    [set(0, 0x46), 'IMAGE_TAG', 'ECREATE'],
    [Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.alloc(100)]), 'IMAGE_TAG', 'ELF'],
    [set(8, 0), 'IMAGE_ECREATE', 'SSAFRAMESIZE 0'],
    [set(9, 1), 'IMAGE_ECREATE', 'SSAFRAMESIZE 257'],
    [set(12, 1), 'IMAGE_ECREATE', 'SIZE 0x10001'],
    [set(14, 0), 'IMAGE_ECREATE', 'SIZE 0x0'],
    [
      broken((b) => {
        b[14] = 0;
        b[18] = 1;
        return b;
      }),
      'IMAGE_TOO_LARGE',
      '281474976710656',
    ],
    [set(63, 1), 'IMAGE_ECREATE', 'reserved'],
    [set(EADD, 0), 'IMAGE_TAG', 'offset 64'],
    [set(EADD + 8, 1), 'IMAGE_EADD', 'offset 64'],
    [set(EADD + 10, 1), 'IMAGE_EADD', 'outside'],
    [set(EADD + 17, 0), 'IMAGE_SECINFO', 'page type 0'],
    [set(EADD + 17, 3), 'IMAGE_SECINFO', 'page type 3'],
    [set(EADD + 16, 0x0d), 'IMAGE_SECINFO', 'not permissions'],
    [set(EADD + 16, 0x02), 'IMAGE_SECINFO', 'writable but not readable'],
    [set(EADD + 18, 1), 'IMAGE_SECINFO', 'reserved'],
    [set(EADD + 63, 1), 'IMAGE_SECINFO', 'reserved'],
    [
      broken((b) => {
        b[EADD + 16] = 1;
        b[EADD + 17] = 1;
        return b;
      }),
      'IMAGE_SECINFO',
      'TCS has permissions',
    ],
    [set(EEXTEND, 0), 'IMAGE_TAG', 'offset 128'],
    [set(EEXTEND + 9, 1), 'IMAGE_CHUNK', 'offset 128'],
    [set(EEXTEND + 16, 1), 'IMAGE_CHUNK', 'reserved'],
    [set(EEXTEND + 320 + 9, 5), 'IMAGE_CHUNK', 'offset 448'],
    [broken((b) => b.subarray(0, 130)), 'IMAGE_TRUNCATED', 'offset 128'],
    [broken((b) => b.subarray(0, 128 + 319)), 'IMAGE_TRUNCATED', 'offset 128'],
    [broken((b) => b.subarray(0, 128 + 320)), 'IMAGE_TRUNCATED', 'page 0x0'],
    [broken((b) => b.subarray(0, 70)), 'IMAGE_TRUNCATED', 'offset 64'],
    [
      broken((b) => Buffer.concat([b.subarray(0, 128 + 15 * 320), b.subarray(128 + 16 * 320)])),
      'IMAGE_PARTLY_MEASURED',
      'page 0x0',
    ],
    [
      broken((b) => {
        b.write('UNMEASRD', EEXTEND + 320, 'latin1');
        return b;
      }),
      'IMAGE_PARTLY_MEASURED',
      'offset 448',
    ],
    [broken((b) => Buffer.concat([b.subarray(0, 64), b.subarray(128)])), 'IMAGE_CHUNK', 'offset 64'],
    [broken((b) => Buffer.concat([b, Buffer.alloc(64)])), 'IMAGE_TAG', `offset ${sample.bytes.length}`],
    [
      broken((b) => Buffer.concat([b, Buffer.from('EADD\0\0\0\0', 'latin1')])),
      'IMAGE_TRUNCATED',
      `offset ${sample.bytes.length}`,
    ],
  ];
  for (const [bytes, code, words] of cases) refuses(() => readSgxs(bytes), code, words);
  refuses(() => readSgxs(sample.bytes, { limits: { maxFileBytes: 1000 } }), 'IMAGE_TOO_LARGE');
  refuses(() => readSgxs(sample.bytes, { limits: { maxEnclaveBytes: 4096 } }), 'IMAGE_TOO_LARGE');
  refuses(() => readSgxs(sample.bytes, { sigstruct: new Uint8Array(1807) }), 'IMAGE_SIGNATURE_FILE', '1807');
});

test('the writer refuses what no enclave can have', () => {
  const page = new Uint8Array(4096);
  const write =
    (size: number, frame: number, ...pages: PageRun[]) =>
    () =>
      writeSgxs({ size, ssaFrameSize: frame, pages });
  const run = (offset: number, secinfoFlags = 0x203, data = page): PageRun => ({
    offset,
    secinfoFlags,
    data,
    measured: true,
  });
  const code = 'IMAGE_LAYOUT';
  refuses(write(3 * 4096, 1), code);
  refuses(write(4096, 1), code);
  refuses(write(2 ** 37, 1), code);
  refuses(write(8192, 0), code);
  refuses(write(8192, 1, run(1)), code);
  refuses(write(8192, 1, run(8192)), code);
  refuses(write(8192, 1, run(4096), run(0)), code);
  refuses(write(8192, 1, run(0), run(0)), code);
  refuses(write(8192, 1, run(0, 0x203, new Uint8Array(100))), code);
  refuses(write(8192, 1, run(0, 0x203, new Uint8Array(0))), code);
  for (const flags of [0x000, 0x303, 0x101, 0x202, 0x20b, 0x10203])
    refuses(write(8192, 1, run(0, flags)), code);
  let total = 0;
  const writer = new SgxsWriter({ size: 2 ** 20, ssaFrameSize: 1 }, (b) => {
    total += b.length;
  });
  for (let i = 0; i < 200; i++) writer.addPages(run(i * 4096));
  assert.equal(writer.finish(), 64 + 200 * (64 + 16 * 320));
  assert.equal(total, writer.finish());
});

test('fuzz: damaged and random images end in typed errors, and what is accepted is what was written', () => {
  const options = { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 150), seed: 20260110 };
  const attempt = (bytes: Uint8Array): void => {
    try {
      const image = readSgxs(bytes);
      let last = -1;
      for (const run of image.pages()) last = Math.max(last, run.offset + run.data.length);
      assert.ok(last <= image.size);
      image.mrenclave(nodeHash);
    } catch (e) {
      assert.ok(e instanceof NsgxError, String(e));
    }
  };
  fc.assert(
    fc.property(fc.nat(sample.bytes.length - 1), fc.nat(255), fc.nat(sample.bytes.length), (at, v, cut) => {
      const b = Buffer.from(sample.bytes);
      b[at] = v;
      attempt(b);
      attempt(b.subarray(0, cut));
    }),
    options,
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), attempt), options);
  // Whole blocks moved about reach deeper than single bytes.
  fc.assert(
    fc.property(fc.array(fc.nat(sample.bytes.length / 64 - 1), { maxLength: 80 }), (blocks) => {
      const parts = blocks.map((i) => sample.bytes.subarray(i * 64, i * 64 + 64));
      attempt(Buffer.concat([sample.bytes.subarray(0, 64), ...parts]));
    }),
    options,
  );
});
