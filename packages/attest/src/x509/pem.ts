/** PEM (RFC 7468) and DER input of certificates and CRLs. */
import { AttestError } from '../errors.js';
import { type Certificate, parseCertificate } from './certificate.js';

/** Most certificates read from one file or chain. */
export const MAX_CHAIN = 10;

const ARMOUR = /-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END ([A-Z0-9 ]{1,40})-----/g;

/** Decodes standard base64 (white space allowed, unused bits zero), or null when it is not that. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  const compact = text.replace(/\s+/g, '');
  if (compact.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(compact)) return null;
  const binary = atob(compact);
  if (btoa(binary) !== compact) return null;
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * The DER blocks of a file that is PEM (blocks labelled `label`) or DER (one block).
 * @throws AttestError COLLATERAL_MALFORMED
 */
export function derBlocks(file: Uint8Array, label: string, what: string): Uint8Array[] {
  if (file.length > 256 * 1024) {
    throw new AttestError('COLLATERAL_MALFORMED', `${what} has ${file.length} bytes; 262144 is the limit.`);
  }
  if (file[0] === 0x30) return [file];
  let text = '';
  for (const byte of file) text += String.fromCharCode(byte);
  const blocks: Uint8Array[] = [];
  for (const match of text.matchAll(ARMOUR)) {
    const der = match[1] === label && match[3] === label ? fromBase64(match[2]!) : null;
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
  }
  if (blocks.length > 0 && text.split('-----').length !== 4 * blocks.length + 1) {
    throw new AttestError('COLLATERAL_MALFORMED', `${what} holds a PEM block that is damaged.`);
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
