/** C text: UTF-8 for char, UTF-32 for wchar_t, with a terminating zero. */
import { edlError } from '../errors.js';
import { invalid } from './values.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The bytes of a text with its zero. Bytes are taken as they are. @throws EDL_VALUE for a zero within */
export function encodeText(value: unknown, wide: boolean, what: string): Uint8Array {
  if (typeof value !== 'string' && !(value instanceof Uint8Array))
    throw invalid(what, 'a string, a Uint8Array or null', value);
  if (typeof value === 'string' && value.includes('\0'))
    throw edlError('EDL_VALUE', `${what} has a zero character, which would end it`);
  if (!wide) {
    const bytes = typeof value === 'string' ? encoder.encode(value) : value;
    if (bytes.includes(0)) throw edlError('EDL_VALUE', `${what} has a zero byte, which would end it`);
    const text = new Uint8Array(bytes.length + 1);
    text.set(bytes);
    return text;
  }
  if (typeof value !== 'string') throw invalid(what, 'a string or null', value);
  const points = Array.from(value, (character) => character.codePointAt(0) ?? 0);
  const text = new Uint8Array((points.length + 1) * 4);
  const view = new DataView(text.buffer);
  points.forEach((point, i) => {
    view.setUint32(i * 4, point, true);
  });
  return text;
}

/** The string of bytes without their zero. What is not UTF-8 or no character becomes U+FFFD. */
export function decodeText(bytes: Uint8Array, wide: boolean): string {
  if (!wide) return decoder.decode(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: string[] = [];
  for (let i = 0; i + 4 <= bytes.length; i += 4) {
    const point = view.getUint32(i, true);
    parts.push(point <= 0x10ffff ? String.fromCodePoint(point) : '\uFFFD');
  }
  return parts.join('');
}
