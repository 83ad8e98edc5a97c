/** The little of CBOR (RFC 8949) that a TSM report in CBOR takes: one map of text to byte and text strings. */
import { copyBytes } from '../bytes.js';
import { AttestError } from '../errors.js';

const BYTES = 2;
const TEXT = 3;
const MAP = 5;

/**
 * Reads a map of definite lengths in shortest form; nothing may follow it.
 * @throws AttestError EVIDENCE_MALFORMED
 */
export function readBlobMap(input: Uint8Array, what: string): Map<string, Uint8Array | string> {
  const refuse = (reason: string): never => {
    throw new AttestError('EVIDENCE_MALFORMED', `The ${what} ${reason}.`);
  };
  let at = 0;
  const byte = (): number => (at < input.length ? input[at++]! : refuse('is cut short'));
  const head = (): { major: number; value: number } => {
    const first = byte();
    const [major, short] = [first >> 5, first & 0x1f];
    if (short < 24) return { major, value: short };
    if (short > 26) return refuse('has a length of a kind that is not read here');
    let value = 0;
    for (let i = 0; i < 1 << (short - 24); i++) value = value * 256 + byte();
    const least = [24, 0x100, 0x1_0000][short - 24]!;
    return value < least ? refuse('has a length that is not in its shortest form') : { major, value };
  };
  const string = (): Uint8Array | string => {
    const { major, value } = head();
    if ((major !== BYTES && major !== TEXT) || at + value > input.length)
      return refuse('has a value that is no string, or leaves it');
    const bytes = copyBytes(input.subarray(at, at + value));
    at += value;
    if (major === BYTES) return bytes;
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      return refuse('has text that is not UTF-8');
    }
  };
  const map = head();
  if (map.major !== MAP) refuse('is no map');
  const fields = new Map<string, Uint8Array | string>();
  for (let i = 0; i < map.value; i++) {
    const name = string();
    if (typeof name !== 'string' || fields.has(name))
      return refuse('has a name that is no text, or comes twice');
    fields.set(name, string());
  }
  if (at !== input.length) refuse('goes on after its map');
  return fields;
}
