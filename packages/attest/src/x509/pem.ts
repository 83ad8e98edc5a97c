/** PEM (RFC 7468) and DER input of certificates and CRLs. */
import { AttestError } from '../errors.js';
import { type Certificate, parseCertificate } from './certificate.js';
import { DerReader, derFailure, TAG } from './der.js';

/** Largest file that is read, in bytes: revocation lists grow. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Most certificates read from one file or chain. */
export const MAX_CHAIN = 10;

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const SPACE = 64;
const NOTHING = 255;
/** Value of each ASCII character in base64. */
const SEXTETS = new Uint8Array(128).fill(NOTHING);
for (let i = 0; i < 64; i++) SEXTETS[ALPHABET.charCodeAt(i)] = i;
for (const character of ' \t\r\n') SEXTETS[character.charCodeAt(0)] = SPACE;

const sextet = (text: string, at: number): number => {
  const code = text.charCodeAt(at);
  return code < 128 ? SEXTETS[code]! : NOTHING;
};

/** Decodes standard base64 (white space allowed, unused bits zero), or null when it is not that. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  const out = new Uint8Array((text.length * 3) >> 2);
  let [bits, held, length, digits, padding] = [0, 0, 0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    // Four digits at a time wherever nothing else is between them.
    while (held === 0 && padding === 0 && i + 4 <= text.length) {
      const a = sextet(text, i);
      const b = sextet(text, i + 1);
      const c = sextet(text, i + 2);
      const d = sextet(text, i + 3);
      if ((a | b | c | d) >= SPACE) break;
      const group = (a << 18) | (b << 12) | (c << 6) | d;
      out[length++] = group >> 16;
      out[length++] = (group >> 8) & 0xff;
      out[length++] = group & 0xff;
      i += 4;
      bits = 0;
    }
    if (i >= text.length) break;
    const value = sextet(text, i);
    if (text.charCodeAt(i) === 0x3d) {
      padding++;
      continue;
    }
    if (value === SPACE) continue;
    if (value === NOTHING || padding > 0) return null;
    bits = ((bits & 0x3f) << 6) | value;
    digits++;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[length++] = (bits >> held) & 0xff;
    }
  }
  const unused = bits & ((1 << held) - 1);
  if ((digits + padding) % 4 !== 0 || padding > 2 || digits % 4 === 1 || unused !== 0) return null;
  return out.slice(0, length);
}

/**
 * The DER blocks of a file that is PEM (blocks labelled `label`) or DER (one block).
 * @throws AttestError COLLATERAL_MALFORMED
 */
export function derBlocks(file: Uint8Array, label: string, what: string): Uint8Array[] {
  if (file.length > MAX_FILE_BYTES) {
    throw new AttestError(
      'COLLATERAL_MALFORMED',
      `${what} has ${file.length} bytes; ${MAX_FILE_BYTES} is the limit.`,
    );
  }
  if (file[0] === 0x30) return [file];
  const text = new TextDecoder('latin1').decode(file);
  const [begin, end] = [`-----BEGIN ${label}-----`, `-----END ${label}-----`];
  const blocks: Uint8Array[] = [];
  for (let at = text.indexOf('-----'); at >= 0; at = text.indexOf('-----', at)) {
    const from = at + begin.length;
    const to = text.startsWith(begin, at) ? text.indexOf('-----', from) : -1;
    const der = to >= 0 && text.startsWith(end, to) ? fromBase64(text.slice(from, to)) : null;
    if (der === null) {
      throw new AttestError(
        'COLLATERAL_MALFORMED',
        `${what} holds a PEM block that is no readable ${label}.`,
      );
    }
    blocks.push(der);
    if (blocks.length > MAX_CHAIN) {
      throw new AttestError('COLLATERAL_MALFORMED', `${what} holds more than ${MAX_CHAIN} PEM blocks.`);
    }
    at = to + end.length;
  }
  if (blocks.length === 0) {
    throw new AttestError('COLLATERAL_MALFORMED', `${what} is neither DER nor PEM.`, {
      advice: `Give a ${label.toLowerCase()} in DER or PEM.`,
    });
  }
  return blocks;
}

/** The certificates in a PEM or DER file, in file order. @throws AttestError */
export function readCertificates(file: Uint8Array, what: string): Certificate[] {
  return derBlocks(file, 'CERTIFICATE', what).map((der) => parseCertificate(der));
}

/** The certificates of a chain: PEM, or DER one behind the other. @throws AttestError */
export function chainBlocks(file: Uint8Array, what: string): Uint8Array[] {
  if (file[0] !== TAG.SEQUENCE) return derBlocks(file, 'CERTIFICATE', what);
  const reader = new DerReader(file);
  const blocks: Uint8Array[] = [];
  while (!reader.done) {
    if (blocks.length === MAX_CHAIN) derFailure(`${what} holds more than ${MAX_CHAIN} certificates`);
    blocks.push(reader.expect(TAG.SEQUENCE, 'a certificate').encoding);
  }
  return blocks;
}
