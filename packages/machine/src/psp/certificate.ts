/** Issues the X.509 certificates of the software chip (RFC 5280; ECDSA P-384 with SHA-384 throughout). */
import { createHash, type KeyObject, sign } from 'node:crypto';
import * as der from './der.js';

const ECDSA_SHA384 = der.sequence(der.oid('1.2.840.10045.4.3.3'));

/** One extension; `value` is the content of its OCTET STRING. */
export interface Extension {
  oid: string;
  critical?: boolean;
  value: Uint8Array;
}

/** What goes into a certificate. Names are lists of [attribute OID, text]. */
export interface CertificateRequest {
  serial: Uint8Array;
  issuer: Name;
  subject: Name;
  notBefore: Date;
  notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  publicKey: Uint8Array;
  extensions: readonly Extension[];
}

/** An X.501 name, most significant part first. */
export type Name = readonly (readonly [oid: string, text: string])[];

/** X.501 attribute types. */
export const NAME = Object.freeze({ CN: '2.5.4.3', O: '2.5.4.10', OU: '2.5.4.11' });

/** Builds and signs a certificate; DER. */
export function issueCertificate(request: CertificateRequest, issuerKey: KeyObject): Uint8Array {
  const extensions = request.extensions.map((e) =>
    e.critical
      ? der.sequence(der.oid(e.oid), der.boolean(true), der.octets(e.value))
      : der.sequence(der.oid(e.oid), der.octets(e.value)),
  );
  const tbs = der.sequence(
    der.explicit(0, der.integer(2)),
    der.integer(request.serial),
    ECDSA_SHA384,
    encodeName(request.issuer),
    der.sequence(der.time(request.notBefore), der.time(request.notAfter)),
    encodeName(request.subject),
    request.publicKey,
    der.explicit(3, der.sequence(...extensions)),
  );
  const signature = sign('sha384', tbs, { key: issuerKey, dsaEncoding: 'der' });
  return der.sequence(tbs, ECDSA_SHA384, der.bits(new Uint8Array(signature)));
}

function encodeName(name: Name): Uint8Array {
  return der.sequence(
    ...name.map(([type, text]) => der.tlv(0x31, der.sequence(der.oid(type), der.utf8(text)))),
  );
}

/** BasicConstraints of a CA that signs CAs `depth` levels down, or of an end entity. */
export function basicConstraints(depth: number | undefined): Extension {
  const value = depth === undefined ? der.sequence() : der.sequence(der.boolean(true), der.integer(depth));
  return { oid: '2.5.29.19', critical: true, value };
}

/** KeyUsage: keyCertSign and cRLSign of a CA, digitalSignature of an end entity. */
export function keyUsage(ca: boolean): Extension {
  const value = ca ? der.bits(Uint8Array.of(0x06), 1) : der.bits(Uint8Array.of(0x80), 7);
  return { oid: '2.5.29.15', critical: true, value };
}

/** SubjectKeyIdentifier and AuthorityKeyIdentifier: SHA-1 of the public key bits (RFC 5280 §4.2.1.2). */
export function keyIdentifiers(subject: KeyObject, issuer: KeyObject): Extension[] {
  return [
    { oid: '2.5.29.14', value: der.octets(keyId(subject)) },
    { oid: '2.5.29.35', value: der.sequence(der.tlv(0x80, keyId(issuer))) },
  ];
}

/** SubjectPublicKeyInfo of a P-384 key ends in its 97-byte point. */
function keyId(key: KeyObject): Uint8Array {
  const spki = key.export({ type: 'spki', format: 'der' });
  return new Uint8Array(
    createHash('sha1')
      .update(spki.subarray(spki.length - 97))
      .digest(),
  );
}
