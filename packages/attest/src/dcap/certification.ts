/**
 * Certification data of a quote: who certified the key that signed the QE report. Types as in Intel's
 * "SGX ECDSA Quote Library API", "QE Certification Data".
 */
import { allZero, Reader, toHex } from '../bytes.js';

/** Numbers of the types. */
export const CERTIFICATION = Object.freeze({
  PPID: 1,
  PPID_RSA_2048: 2,
  PPID_RSA_3072: 3,
  PCK_LEAF: 4,
  PCK_CHAIN: 5,
  QE_REPORT: 6,
  PLATFORM_MANIFEST: 7,
} as const);

/** Certification data, decoded. */
export type Certification =
  /** The identifiers with which the PCK certificate is fetched; no certificate. */
  | {
      readonly kind: 'ppid';
      /** In plain for type 1, else encrypted to Intel (RSA-OAEP). */
      readonly ppid: Uint8Array;
      readonly encryption: 'none' | 'RSA-2048-OAEP' | 'RSA-3072-OAEP';
      readonly cpuSvn: Uint8Array;
      readonly pceSvn: number;
      /** Null when left out, as in Intel's sample data. */
      readonly pceId: Uint8Array | null;
    }
  /** The PCK certificate (PEM or DER) without its issuer. */
  | { readonly kind: 'pck-leaf'; readonly data: Uint8Array }
  /** The PCK chain in PEM. */
  | { readonly kind: 'pck-chain'; readonly data: Uint8Array }
  /** What a platform registers with; opaque here, and no certificate. */
  | { readonly kind: 'platform-manifest'; readonly data: Uint8Array };

const PPID_TYPES = {
  [CERTIFICATION.PPID]: [16, 'none'],
  [CERTIFICATION.PPID_RSA_2048]: [256, 'RSA-2048-OAEP'],
  [CERTIFICATION.PPID_RSA_3072]: [384, 'RSA-3072-OAEP'],
} as const;

function withoutPadding(data: Uint8Array): Uint8Array {
  let end = data.length;
  while (end > 0 && data[end - 1] === 0) end--;
  return data.subarray(0, end);
}

/**
 * Decodes the innermost certification data. Type 6, which wraps the QE report, is the caller's to open.
 * @throws AttestError EVIDENCE_MALFORMED for an unknown type or a wrong size
 */
export function parseCertification(type: number, data: Uint8Array): Certification {
  const reader = new Reader(data, 'certification data');
  if (type === CERTIFICATION.PCK_LEAF) return { kind: 'pck-leaf', data: withoutPadding(data) };
  if (type === CERTIFICATION.PCK_CHAIN) return { kind: 'pck-chain', data: withoutPadding(data) };
  if (type === CERTIFICATION.PLATFORM_MANIFEST) return { kind: 'platform-manifest', data };
  if (!Object.hasOwn(PPID_TYPES, type)) reader.fail(`are of type ${type}; 1 to 5 and 7 are known`);
  const [length, encryption] = PPID_TYPES[type as keyof typeof PPID_TYPES];
  const certification = {
    kind: 'ppid',
    ppid: reader.view(length, 'the PPID'),
    encryption,
    cpuSvn: reader.view(16, 'CPUSVN'),
    pceSvn: reader.u16('PCESVN'),
    pceId: reader.remaining === 0 ? null : reader.view(2, 'the PCE id'),
  } as const;
  if (!allZero(reader.view(reader.remaining, 'padding'))) reader.fail(`of type ${type} are too long`);
  return certification;
}

/** Certification data as JSON, without certificates. */
export function certificationFields(certification: Certification): Record<string, string | number | null> {
  if (certification.kind !== 'ppid') return { kind: certification.kind };
  const { kind, encryption, pceSvn } = certification;
  const { ppid, cpuSvn, pceId } = certification;
  return { kind, encryption, ppid: toHex(ppid), cpuSvn: toHex(cpuSvn), pceSvn, pceId: pceId && toHex(pceId) };
}
