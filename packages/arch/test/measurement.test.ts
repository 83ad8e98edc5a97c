import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { nobleHash } from '../src/hash/noble.js';
import { nodeHash } from '../src/hash/node.js';
import { EnclaveMeasurement, type HashProvider, NsgxError, secinfoBytes } from '../src/index.js';

/** The stream as the facts describe it, block by block, with none of the product's code. */
class NaiveMeasurement {
  readonly #hash = createHash('sha256');
  #block(tag: string, a: Buffer): void {
    const b = Buffer.alloc(64);
    b.write(tag, 'latin1');
    a.copy(b, 8);
    this.#hash.update(b);
  }
  ecreate(frame: number, size: bigint): void {
    const a = Buffer.alloc(12);
    a.writeUInt32LE(frame, 0);
    a.writeBigUInt64LE(size, 4);
    this.#block('ECREATE', a);
  }
  page(offset: bigint, secinfo: Uint8Array, page: Uint8Array, measured: boolean): void {
    const a = Buffer.alloc(56);
    a.writeBigUInt64LE(offset, 0);
    a.set(secinfo.subarray(0, 48), 8);
    this.#block('EADD', a);
    for (let c = 0; measured && c < 4096; c += 256) {
      const e = Buffer.alloc(8);
      e.writeBigUInt64LE(offset + BigInt(c));
      this.#block('EEXTEND', e);
      this.#hash.update(page.subarray(c, c + 256));
    }
  }
  digest(): string {
    return this.#hash.digest('hex');
  }
}

const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

function filled(length: number, seed: number): Uint8Array {
  const b = new Uint8Array(length);
  let x = seed | 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    b[i] = x >>> 24;
  }
  return b;
}

test('long runs give the digest of the plain stream, whatever their lengths and alignment', () => {
  const run = fc.record({
    pages: fc.integer({ min: 1, max: 130 }),
    measured: fc.boolean(),
    flags: fc.constantFrom(0x100, 0x201, 0x203, 0x205, 0x207),
    misalign: fc.integer({ min: 0, max: 7 }),
  });
  fc.assert(
    fc.property(fc.array(run, { minLength: 1, maxLength: 4 }), fc.nat(2 ** 30), (runs, seed) => {
      const naive = new NaiveMeasurement();
      const fast = new EnclaveMeasurement(nodeHash);
      naive.ecreate(1, 1n << 36n);
      fast.ecreate(1, 1n << 36n);
      let offset = 0xffff_f000n * BigInt(seed & 1);
      for (const r of runs) {
        const data = filled(r.pages * 4096 + r.misalign, seed).subarray(r.misalign);
        fast.addPages(offset, secinfoBytes(r.flags), data, r.measured);
        for (let p = 0; p < r.pages; p++) {
          naive.page(
            offset + BigInt(p * 4096),
            secinfoBytes(r.flags),
            data.subarray(p * 4096, (p + 1) * 4096),
            r.measured,
          );
        }
        offset += BigInt(r.pages * 4096);
      }
      assert.equal(hex(fast.digest()), naive.digest());
    }),
    { numRuns: 25, seed: 20260101 },
  );
});

test('leaf by leaf and page by page agree, with node:crypto and with noble', () => {
  const page = filled(4096, 5);
  const digests = [nodeHash, nobleHash].flatMap((provider: HashProvider) => {
    const leaves = new EnclaveMeasurement(provider);
    leaves.ecreate(2, 0x10000n);
    leaves.eadd(0x3000n, secinfoBytes(0x205));
    for (let c = 0; c < 4096; c += 256) leaves.eextend(0x3000n + BigInt(c), page.subarray(c, c + 256));
    const pages = new EnclaveMeasurement(provider);
    pages.ecreate(2, 0x10000n);
    pages.addPage(0x3000n, secinfoBytes(0x205), page, true);
    return [hex(leaves.digest()), hex(pages.digest())];
  });
  const naive = new NaiveMeasurement();
  naive.ecreate(2, 0x10000n);
  naive.page(0x3000n, secinfoBytes(0x205), page, true);
  assert.deepEqual(new Set(digests), new Set([naive.digest()]));
});

test('only the first 48 bytes of SECINFO are measured, and the digest does not end the measurement', () => {
  const a = new EnclaveMeasurement(nodeHash);
  const b = new EnclaveMeasurement(nodeHash);
  const tail = secinfoBytes(0x203);
  tail[48] = 1;
  const head = secinfoBytes(0x203);
  head[47] = 1;
  for (const m of [a, b]) m.ecreate(1, 8192n);
  a.eadd(0n, secinfoBytes(0x203));
  b.eadd(0n, tail);
  assert.equal(hex(a.digest()), hex(b.digest()));
  const before = hex(a.digest());
  a.eadd(4096n, secinfoBytes(0x203));
  b.eadd(4096n, head);
  assert.notEqual(hex(a.digest()), before);
  assert.notEqual(hex(a.digest()), hex(b.digest()));
});

test('misuse is refused', () => {
  const m = new EnclaveMeasurement(nodeHash);
  const refuses = (f: () => void, code: string) =>
    assert.throws(f, (e) => e instanceof NsgxError && e.code === code);
  refuses(() => m.eadd(0n, secinfoBytes(0)), 'MEASUREMENT_ORDER');
  m.ecreate(1, 8192n);
  refuses(() => m.ecreate(1, 8192n), 'MEASUREMENT_ORDER');
  refuses(() => m.eadd(1n, secinfoBytes(0)), 'MEASUREMENT_ARGUMENT');
  refuses(() => m.eadd(0n, new Uint8Array(47)), 'MEASUREMENT_ARGUMENT');
  refuses(() => m.eextend(128n, new Uint8Array(256)), 'MEASUREMENT_ARGUMENT');
  refuses(() => m.eextend(0n, new Uint8Array(255)), 'MEASUREMENT_ARGUMENT');
  refuses(() => m.addPages(0n, secinfoBytes(0), new Uint8Array(4097), true), 'MEASUREMENT_ARGUMENT');
  refuses(() => m.addPage(0n, secinfoBytes(0), new Uint8Array(8192), true), 'MEASUREMENT_ARGUMENT');
});
