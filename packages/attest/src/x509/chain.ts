/** Path validation (RFC 5280 §6, for the fixed chains of AMD, Intel and this system). */
import { sameBytes, toHex } from '../bytes.js';
import type { Certificate } from './certificate.js';
import { digest } from './keys.js';
import { verifyAuthority } from './remembered.js';

/** A certificate's place in a sentence. */
export function certificateLabel(certificate: Certificate): string {
  return `'${certificate.subject.commonName || certificate.subject.text}'`;
}

/** RFC 3339 in seconds. */
export function timeText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}

/** SHA-256 of the certificate's SubjectPublicKeyInfo, hexadecimal: how roots are named. */
export function keyFingerprint(certificate: Certificate): string {
  return toHex(digest('SHA-256', certificate.publicKey.spki));
}

/** Why `certificate` is not valid at `time` (milliseconds since 1970), or null. */
export function validityFault(certificate: Certificate, time: number): string | null {
  const label = certificateLabel(certificate);
  if (time < certificate.notBefore) {
    return `${label} is not valid before ${timeText(certificate.notBefore)} and the time of verification is ${timeText(time)}`;
  }
  if (time > certificate.notAfter) {
    return `${label} expired at ${timeText(certificate.notAfter)} and the time of verification is ${timeText(time)}`;
  }
  return null;
}

/**
 * Why `chain` (end entity first, self-signed root last) does not hold whatever the time, or null.
 * Checks names, signatures (the root's own too), basicConstraints, path lengths and keyUsage.
 * Does not decide whether the root is trusted, but `anchor`, which is, needs no signature of its own.
 */
export function chainStructureFault(
  chain: readonly Certificate[],
  anchor: Certificate | null = null,
): string | null {
  if (chain.length < 2) return 'the chain has no issuer';
  if (chain[0]!.pathLength !== null)
    return `the leaf ${certificateLabel(chain[0]!)} is a certification authority`;
  for (let i = 0; i < chain.length; i++) {
    const child = chain[i]!;
    const issuer = chain[Math.min(i + 1, chain.length - 1)]!;
    const label = certificateLabel(child);
    if (!sameBytes(child.issuer.encoding, issuer.subject.encoding)) {
      return `${label} names '${child.issuer.commonName}' as issuer, the next certificate is ${certificateLabel(issuer)}`;
    }
    if (issuer.pathLength === null) return `${certificateLabel(issuer)} is no certification authority`;
    if (issuer !== child && issuer.pathLength < i) {
      return `${certificateLabel(issuer)} allows ${issuer.pathLength} authorities below it, there are ${i}`;
    }
    if (issuer.keyUsage !== null && !issuer.keyUsage.certSign) {
      return `the key usage of ${certificateLabel(issuer)} does not allow it to sign certificates`;
    }
    const signed =
      child === anchor ||
      verifyAuthority(issuer.publicKey, child.signatureAlgorithm, child.signature, child.tbs);
    if (!signed) {
      return `the signature on ${label} is not by the key of ${certificateLabel(issuer)}`;
    }
  }
  return null;
}

/** Why one of the certificates is not valid at `time` (milliseconds since 1970), or null. */
export function chainValidityFault(chain: readonly Certificate[], time: number): string | null {
  for (const certificate of chain) {
    const fault = validityFault(certificate, time);
    if (fault !== null) return fault;
  }
  return null;
}

/** Why `chain` does not hold at `time`, or null: {@link chainStructureFault} and {@link chainValidityFault}. */
export function chainFault(chain: readonly Certificate[], time: number): string | null {
  return chainStructureFault(chain) ?? chainValidityFault(chain, time);
}

/**
 * Puts certificates given in any order into a chain from `leaf` to a self-issued root.
 * Returns null when the issuer of one is missing. Names only; {@link chainFault} verifies.
 */
export function orderChain(leaf: Certificate, others: readonly Certificate[]): Certificate[] | null {
  const chain = [leaf];
  for (;;) {
    const last = chain[chain.length - 1]!;
    if (sameBytes(last.issuer.encoding, last.subject.encoding)) return chain;
    const next = others.find(
      (candidate) =>
        !chain.includes(candidate) && sameBytes(candidate.subject.encoding, last.issuer.encoding),
    );
    if (next === undefined) return null;
    chain.push(next);
  }
}
