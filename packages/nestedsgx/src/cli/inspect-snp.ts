/** What `nsgx inspect` shows of things around SNP reports: certificates with AMD's extensions, and guest firmware. */
import { hashTableAddress, NsgxError, parseFirmware } from '@nestedsgx/arch';
import {
  AttestError,
  type Certificate,
  parseSnpLeaf,
  readCertificates,
  type SnpLeaf,
} from '@nestedsgx/attest';
import { hex } from './files.js';

const AMD_PRODUCT = '1.3.6.1.4.1.3704.1.2';
/** Names of metadata sections by their type. */
const SECTION_NAMES: Readonly<Record<number, string>> = {
  1: 'memory',
  2: 'secrets',
  3: 'cpuid',
  4: 'svsm-caa',
  16: 'kernel-hashes',
};

/** True for DER or PEM. */
export function looksLikeCertificates(bytes: Uint8Array): boolean {
  return (
    (bytes[0] === 0x30 && bytes[1] === 0x82) || Buffer.from(bytes).includes('-----BEGIN CERTIFICATE-----')
  );
}

function amdFields(certificate: Certificate): Record<string, unknown> | string | null {
  if (!certificate.extensions.has(AMD_PRODUCT)) return null;
  let leaf: SnpLeaf;
  try {
    leaf = parseSnpLeaf(certificate);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    return error.message;
  }
  const { hwid, ...fields } = leaf;
  return { ...fields, hwid: hwid === null ? null : hex(hwid) };
}

/** Every certificate of a file. @throws AttestError for anything but strict DER or PEM */
export function inspectCertificates(bytes: Uint8Array): Record<string, unknown> {
  const certificates = readCertificates(bytes, 'The file').map((certificate) => ({
    subject: certificate.subject.text,
    issuer: certificate.issuer.text,
    serial: certificate.serial,
    notBefore: new Date(certificate.notBefore).toISOString(),
    notAfter: new Date(certificate.notAfter).toISOString(),
    key:
      certificate.publicKey.kind === 'ec'
        ? certificate.publicKey.curve
        : `RSA ${certificate.publicKey.bits} bits`,
    signatureAlgorithm: certificate.signatureAlgorithm,
    authority: certificate.pathLength !== null,
    amd: amdFields(certificate),
  }));
  return { format: 'certificates', certificates };
}

/** The table and metadata of a guest's firmware, or null when it has neither. */
export function inspectFirmware(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const firmware = parseFirmware(bytes);
    if (firmware.table.size === 0) return null;
    const address = (value: number) => `0x${value.toString(16)}`;
    return {
      format: 'firmware',
      size: bytes.length,
      kernelHashes: hashTableAddress(firmware) === 0 ? null : address(hashTableAddress(firmware)),
      sections: firmware.sections.map(({ type, gpa, size }) => ({
        type: SECTION_NAMES[type] ?? type,
        gpa: address(gpa),
        size,
      })),
      table: Object.fromEntries([...firmware.table].map(([guid, data]) => [guid, hex(data)])),
    };
  } catch (error) {
    if (!(error instanceof NsgxError)) throw error;
    return null;
  }
}
