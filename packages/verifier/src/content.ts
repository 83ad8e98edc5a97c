/**
 * What services answer with, made into collateral files. Parsed, so that an error page never becomes a file; whose
 * signatures are good is for `verify` to say.
 */
import {
  AttestError,
  type Certificate,
  parseCertificate,
  parseRevocationList,
  readCertificates,
} from '@nestedsgx/attest';
import { VerifierError } from './errors.js';
import type { Answer } from './http.js';

const HEX_TEXT = /^[0-9a-fA-F\s]+$/;

function refused(url: string, what: string, cause?: unknown): never {
  const reason = cause instanceof Error ? `: ${cause.message.replace(/\.$/, '')}` : '';
  throw new VerifierError('FETCH_REFUSED', `The answer of ${url} is no ${what}${reason}.`, {
    cause,
    advice: 'Check that the address is that of the service, not of something between.',
  });
}

function parsed<T>(url: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    return refused(url, what, error);
  }
}

/** One certificate in DER. @throws VerifierError FETCH_REFUSED */
export function certificateOf({ url, body }: Answer): { certificate: Certificate; der: Uint8Array } {
  return parsed(url, 'certificate', () => ({ certificate: parseCertificate(body), der: body }));
}

/** Certificates in PEM, at least `least`. @throws VerifierError FETCH_REFUSED */
export function certificatesOf(url: string, pem: Uint8Array, least: number): Certificate[] {
  const list = parsed(url, 'chain of certificates', () => readCertificates(pem, 'The chain'));
  return list.length >= least ? list : refused(url, `chain of ${least} certificates or more`);
}

/**
 * A revocation list in DER. Services send DER; some caches its hexadecimal digits or PEM.
 * @throws VerifierError FETCH_REFUSED
 */
export function revocationListOf({ url, body }: Answer): Uint8Array {
  let der = body;
  if (body[0] !== 0x30) {
    const text = new TextDecoder('latin1').decode(body);
    const pem = /-----BEGIN X509 CRL-----([\sA-Za-z0-9+/=]+)-----END X509 CRL-----/.exec(text);
    if (pem !== null) der = new Uint8Array(Buffer.from(pem[1]!, 'base64'));
    else if (HEX_TEXT.test(text)) der = new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
  }
  parsed(url, 'revocation list', () => parseRevocationList(der));
  return der;
}

/** A signed document of Intel's, byte for byte as it came. @throws VerifierError FETCH_REFUSED */
export function documentOf({ url, body }: Answer, member: 'tcbInfo' | 'enclaveIdentity'): Uint8Array {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    return refused(url, 'JSON document', cause);
  }
  const found = typeof document === 'object' && document !== null && Object.hasOwn(document, member);
  return found ? body : refused(url, `document with '${member}'`);
}

/** The issuer chain in a header: PEM, URL-encoded. @throws VerifierError FETCH_REFUSED when it is not there */
export function chainHeader({ url, headers }: Answer, name: string): Uint8Array {
  const value = headers.get(name);
  let text: string;
  try {
    text = decodeURIComponent(value ?? '');
  } catch (cause) {
    return refused(url, `answer with a readable header ${name}`, cause);
  }
  if (text === '') return refused(url, `answer with a header ${name}`);
  const pem = new TextEncoder().encode(text);
  certificatesOf(url, pem, 1);
  return pem;
}

/** Certificates as one PEM file. */
export function pemFile(certificates: readonly Certificate[]): Uint8Array {
  const blocks = certificates.map(({ der }) => {
    const lines =
      Buffer.from(der)
        .toString('base64')
        .match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  });
  return new TextEncoder().encode(blocks.join(''));
}
