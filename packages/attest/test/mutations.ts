/** Seeded damage to byte strings: blind, and with an eye for DER, JSON and PEM. */
import type { Seeded } from './seeded.js';

const EXTREMES = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xfe, 0xff, 0x30, 0x0a, 0x22];
/** Texts that documents and certificates have, and what somebody would like them to be. */
const WISHES: readonly (readonly [string, string])[] = [
  ['OutOfDate', 'UpToDate'],
  ['ConfigurationAndSWHardeningNeeded', 'UpToDate'],
  ['"tcbStatus"', '"tcbStatuz"'],
  ['"SGX"', '"TDX"'],
  ['"version":3', '"version":2'],
  ['2025', '2035'],
  ['INTEL-SA-00289', ''],
  ['"isvsvn":', '"isvsvn":0'],
  ['{', '{"tcbInfo":{},'],
  ['}', ',"signature":""}'],
  [
    '-----BEGIN CERTIFICATE-----',
    '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----',
  ],
  ['-----END', '----END'],
  ['\n', '\r\n'],
  ['\n', ''],
  ['=', ''],
  ['A', 'A '],
  ['":', '" :'],
  ['":"', '":"\\u0030'],
];

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

/** Offsets of what looks like DER headers with a length that fits. */
function derHeader(random: Seeded, bytes: Uint8Array): number {
  let at = random.below(bytes.length);
  for (let tries = 0; tries < 64; tries++, at = (at + 1) % bytes.length) {
    const tag = bytes[at]!;
    if ([0x02, 0x03, 0x04, 0x05, 0x06, 0x17, 0x18, 0x30, 0x31, 0xa0, 0xa3].includes(tag)) return at;
  }
  return at;
}

function once(random: Seeded, bytes: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random.below(256));
  const at = random.below(bytes.length);
  const splice = (from: number, to: number, middle: Uint8Array = new Uint8Array(0)) =>
    new Uint8Array(Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(Math.max(from, to))]));
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2: {
      const out = bytes.slice();
      out[at]! ^= 1 << random.below(8);
      return out;
    }
    case 3: {
      const out = bytes.slice();
      out[at] = random.chance(50) ? random.pick(EXTREMES) : random.below(256);
      return out;
    }
    case 4:
      return splice(at, at + 1 + random.below(random.pick([4, 64, 2048])));
    case 5:
      return splice(
        at,
        at,
        Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256)),
      );
    case 6: {
      const from = random.below(bytes.length);
      return splice(at, at, bytes.slice(from, from + 1 + random.below(256)));
    }
    case 7: {
      const out = bytes.slice();
      const from = random.below(bytes.length);
      out.copyWithin(at, from, from + 1 + random.below(64));
      return out;
    }
    case 8: {
      const other = random.pick(others);
      const from = random.below(other.length);
      const length = 1 + random.below(random.pick([8, 128, 4096]));
      return splice(at, random.chance(50) ? at + length : at, other.slice(from, from + length));
    }
    case 9: {
      const out = bytes.slice();
      const view = new DataView(out.buffer);
      const value = random.pick([0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, bytes.length, 1184, 65_535]);
      if (at + 4 <= out.length) view.setUint32(at, value, random.chance(80));
      return out;
    }
    case 10: {
      const header = derHeader(random, bytes);
      const long = random.pick([
        [0x80],
        [0x81, 0x05],
        [0x82, 0x00, 0x10],
        [0x84, 0xff, 0xff, 0xff, 0xff],
        [0x00],
      ]);
      return splice(header + 1, header + 1 + random.below(4), Uint8Array.from(long));
    }
    case 11: {
      const [from, to] = random.pick(WISHES);
      const text = latin1(bytes);
      const found = text.indexOf(from, random.chance(50) ? 0 : at);
      if (found < 0) return splice(at, at + 1);
      return splice(found, found + from.length, Buffer.from(to, 'latin1'));
    }
    case 12: {
      const out = bytes.slice();
      out.fill(random.pick([0, 0xff, 0x20, 0x30]), at, at + 1 + random.below(96));
      return out;
    }
    default:
      return random.chance(50)
        ? bytes.slice(0, at)
        : splice(bytes.length, bytes.length, new Uint8Array(random.below(64)));
  }
}

/** `bytes` with one to four changes; they may undo each other. */
export function mutated(random: Seeded, bytes: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let out = bytes;
  for (let n = random.chance(60) ? 1 : 1 + random.below(4); n > 0; n--) out = once(random, out, others);
  return out;
}
