import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  CERTIFICATION_DATA_NESTED,
  encodeNestedCertificationData,
  encodeQuote3,
  NsgxError,
  parseNestedCertificationData,
  parseQuote3,
  QUOTE3_HEADER,
  type Quote3,
} from '../src/index.js';

const fill = (n: number, v: number) => new Uint8Array(n).fill(v);
const refuses = (f: () => unknown, code: string) =>
  assert.throws(f, (e) => e instanceof NsgxError && e.code === code);

const nested = { report: fill(1184, 9), certificates: [fill(700, 1), fill(800, 2), fill(900, 3)] };
const quote: Quote3 = {
  header: {
    VERSION: 3,
    ATT_KEY_TYPE: 2,
    ATT_KEY_DATA_0: 0,
    QE_SVN: 1,
    PCE_SVN: 2,
    QE_VENDOR_ID: fill(16, 4),
    USER_DATA: fill(20, 5),
  },
  reportBody: fill(384, 6),
  signature: fill(64, 7),
  attestationKey: fill(64, 8),
  qeReport: fill(384, 9),
  qeReportSignature: fill(64, 10),
  qeAuthData: fill(32, 11),
  certificationDataType: CERTIFICATION_DATA_NESTED,
  certificationData: encodeNestedCertificationData(nested),
};
const bytes = encodeQuote3(quote);

test('a quote and its certification data come back as they went', () => {
  assert.deepEqual(parseQuote3(bytes), quote);
  assert.deepEqual(parseNestedCertificationData(quote.certificationData), nested);
  assert.equal(bytes[48], 6, 'the report body is at 48');
  assert.equal(
    new DataView(bytes.buffer).getUint32(432, true),
    bytes.length - 436,
    'signature data length at 432',
  );
  assert.equal(bytes[436], 7);
});

test('truncated, extended and contradictory quotes are refused at every length', () => {
  for (let n = 0; n < bytes.length; n += 13)
    refuses(() => parseQuote3(bytes.subarray(0, n)), 'QUOTE_MALFORMED');
  refuses(() => parseQuote3(new Uint8Array([...bytes, 0])), 'QUOTE_MALFORMED');
  const changed = (at: number, v: number) => {
    const b = bytes.slice();
    b[at] = v;
    return b;
  };
  refuses(() => parseQuote3(changed(QUOTE3_HEADER.offsets.VERSION, 4)), 'QUOTE_MALFORMED');
  refuses(() => parseQuote3(changed(QUOTE3_HEADER.offsets.ATT_KEY_TYPE, 3)), 'QUOTE_MALFORMED');
  refuses(() => parseQuote3(changed(436 + 576, 200)), 'QUOTE_MALFORMED');
  refuses(() => parseQuote3(fill(2 * 1024 * 1024, 0)), 'QUOTE_MALFORMED');
  refuses(() => parseQuote3('quote' as never), 'QUOTE_MALFORMED');
  refuses(() => encodeQuote3({ ...quote, signature: fill(63, 0) }), 'CODEC_FIELD_LENGTH');
});

test('certification data: limits and lengths', () => {
  const c = quote.certificationData;
  const code = 'CERTIFICATION_DATA_MALFORMED';
  for (let n = 0; n < c.length; n += 7) refuses(() => parseNestedCertificationData(c.subarray(0, n)), code);
  refuses(() => parseNestedCertificationData(new Uint8Array([...c, 0])), code);
  for (const at of [0, 4, 8 + 1184, 12 + 1184]) {
    const b = c.slice();
    b[at] ^= 0x40;
    refuses(() => parseNestedCertificationData(b), code);
  }
  const b = c.slice();
  b.fill(0xff, 12 + 1184, 16 + 1184);
  refuses(() => parseNestedCertificationData(b), code);
  refuses(() => encodeNestedCertificationData({ report: fill(1183, 0), certificates: [] }), code);
  refuses(
    () => encodeNestedCertificationData({ report: fill(1184, 0), certificates: Array(9).fill(fill(1, 1)) }),
    code,
  );
  refuses(() => encodeNestedCertificationData({ report: fill(1184, 0), certificates: [fill(0, 1)] }), code);
});

test('fuzz: quotes and certification data', () => {
  const runs = { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 200), seed: 20260105 };
  const attempt = (f: () => unknown) => {
    try {
      f();
    } catch (e) {
      assert.ok(e instanceof NsgxError, String(e));
    }
  };
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, v, cut) => {
      const b = bytes.slice();
      b[at] = v;
      attempt(() => parseNestedCertificationData(parseQuote3(b).certificationData));
      attempt(() => parseQuote3(b.subarray(0, cut)));
    }),
    runs,
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), (b) => attempt(() => parseNestedCertificationData(b))),
    runs,
  );
});
