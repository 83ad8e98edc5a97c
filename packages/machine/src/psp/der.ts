/** The little of DER (ITU-T X.690) that issuing a certificate takes. Reading is left to OpenSSL. */

/** A tag, its length and its content. */
export function tlv(tag: number, ...content: Uint8Array[]): Uint8Array {
  const length = content.reduce((n, part) => n + part.length, 0);
  const head = [tag];
  if (length < 0x80) head.push(length);
  else if (length < 0x100) head.push(0x81, length);
  else if (length < 0x1_0000) head.push(0x82, length >>> 8, length & 0xff);
  else throw new RangeError(`DER content of ${length} bytes is too long`);
  return concat(Uint8Array.from(head), ...content);
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function sequence(...content: Uint8Array[]): Uint8Array {
  return tlv(0x30, ...content);
}

/** A non-negative INTEGER from big-endian bytes: shortest form, never negative. */
export function integer(value: Uint8Array | number): Uint8Array {
  let b = typeof value === 'number' ? Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value) : value;
  while (b.length > 1 && b[0] === 0) b = b.subarray(1);
  return b[0] >= 0x80 ? tlv(0x02, Uint8Array.of(0), b) : tlv(0x02, b);
}

/** OBJECT IDENTIFIER from dotted decimal. */
export function oid(dotted: string): Uint8Array {
  const [a, b, ...rest] = dotted.split('.').map(Number);
  const out: number[] = [];
  for (const arc of [a * 40 + b, ...rest]) {
    const groups = [arc & 0x7f];
    for (let v = arc >>> 7; v > 0; v >>>= 7) groups.unshift((v & 0x7f) | 0x80);
    out.push(...groups);
  }
  return tlv(0x06, Uint8Array.from(out));
}

export function octets(b: Uint8Array): Uint8Array {
  return tlv(0x04, b);
}

/** BIT STRING; `unused` low bits of the last byte are padding. */
export function bits(b: Uint8Array, unused = 0): Uint8Array {
  return tlv(0x03, Uint8Array.of(unused), b);
}

export function boolean(value: boolean): Uint8Array {
  return tlv(0x01, Uint8Array.of(value ? 0xff : 0));
}

export function utf8(text: string): Uint8Array {
  return tlv(0x0c, new TextEncoder().encode(text));
}

export function ia5(text: string): Uint8Array {
  return tlv(0x16, new TextEncoder().encode(text));
}

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5); whole seconds. */
export function time(date: Date): Uint8Array {
  const text = `${date.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  const utc = date.getUTCFullYear() < 2050;
  return tlv(utc ? 0x17 : 0x18, new TextEncoder().encode(utc ? text.slice(2) : text));
}

/** [n] EXPLICIT. */
export function explicit(n: number, content: Uint8Array): Uint8Array {
  return tlv(0xa0 | n, content);
}
