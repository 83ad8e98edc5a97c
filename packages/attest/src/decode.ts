/** Evidence as named fields, for people: decoded, not verified. */
import type { ClaimValue } from './appraisal.js';
import { paddedAscii, toHex } from './bytes.js';
import { certificationFields } from './dcap/certification.js';
import { type DcapQuote, parseDcapQuote } from './dcap/quote.js';
import { tdxBodyFields } from './dcap/td-body.js';
import { AttestError } from './errors.js';
import { parseNestedQuote } from './nested/quote.js';
import { headerFields, sgxBodyFields } from './quote/sgx-body.js';
import type { CertificateTable } from './snp/certificate-table.js';
import { firmwareVersion } from './snp/checks.js';
import { readSnpEvidence } from './snp/evidence.js';
import type { SnpReport } from './snp/report.js';
import { evidenceFormat, takeEvidence } from './verify.js';
import { parseCertificate } from './x509/certificate.js';
import { timeText } from './x509/chain.js';
import { derBlocks, readCertificates } from './x509/pem.js';

/** A JSON document of the fields; `format` says which they are. Bytes are lower-case hexadecimal. */
export type DecodedEvidence = { readonly format: 'evidence' | 'snp-report' | 'quote' } & {
  readonly [field: string]: ClaimValue;
};

/** Every field of an SNP report, named as in the ABI. */
export function snpReportFields(report: SnpReport): Record<string, ClaimValue> {
  const { raw, reservedAsDefined, ...policy } = report.policy;
  const { raw: platform, reservedAsDefined: platformAsDefined, ...platformInfo } = report.platformInfo;
  return {
    version: report.version,
    guestSvn: report.guestSvn,
    policy: { raw: raw.toString(16).padStart(16, '0'), reservedAsDefined, ...policy },
    familyId: toHex(report.familyId),
    familyIdText: paddedAscii(report.familyId),
    imageId: toHex(report.imageId),
    imageIdText: paddedAscii(report.imageId),
    vmpl: report.vmpl,
    signatureAlgorithm: report.signatureAlgorithm,
    currentTcb: { ...report.currentTcb },
    platformInfo: {
      raw: platform.toString(16).padStart(16, '0'),
      reservedAsDefined: platformAsDefined,
      ...platformInfo,
    },
    authorKeyEnabled: report.authorKeyEnabled,
    maskChipKey: report.maskChipKey,
    signingKey: report.signingKey,
    reportData: toHex(report.reportData),
    measurement: toHex(report.measurement),
    hostData: toHex(report.hostData),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
    reportedTcb: { ...report.reportedTcb },
    cpu: report.cpu === null ? null : { ...report.cpu },
    product: report.product,
    chipId: toHex(report.chipId),
    committedTcb: { ...report.committedTcb },
    currentVersion: firmwareVersion(report.currentFirmware),
    committedVersion: firmwareVersion(report.committedFirmware),
    launchTcb: { ...report.launchTcb },
    launchMitigations: report.launchMitigations?.toString(16).padStart(16, '0') ?? null,
    currentMitigations: report.currentMitigations?.toString(16).padStart(16, '0') ?? null,
    signatureR: toHex(report.signature.subarray(0, 48)),
    signatureS: toHex(report.signature.subarray(48)),
  };
}

function certificateFields(der: Uint8Array): ClaimValue {
  try {
    const certificate = parseCertificate(der);
    return {
      subject: certificate.subject.text,
      issuer: certificate.issuer.text,
      serial: certificate.serial,
      notBefore: timeText(certificate.notBefore),
      notAfter: timeText(certificate.notAfter),
      size: der.length,
    };
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    return { unreadable: error.message, size: der.length };
  }
}

/** The host's certificate table: by role; what is no certificate by size or GUID. */
function tableFields({ others, crl, ...roles }: CertificateTable): ClaimValue {
  const fields: Record<string, ClaimValue> = {};
  for (const [role, file] of Object.entries(roles)) {
    try {
      const [first] = derBlocks(file, 'CERTIFICATE', `The '${role}'`);
      fields[role] = certificateFields(first!);
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
      fields[role] = { unreadable: error.message, size: file.length };
    }
  }
  return { ...fields, crlSize: crl?.length ?? null, others };
}

function dcapFields(quote: DcapQuote): Record<string, ClaimValue> {
  const { certification } = quote;
  let certificates: ClaimValue = null;
  if (certification.kind === 'pck-chain' || certification.kind === 'pck-leaf') {
    try {
      const chain = readCertificates(certification.data, 'The PCK chain');
      certificates = chain.map((certificate) => certificateFields(certificate.der));
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
      certificates = { unreadable: error.message };
    }
  }
  return {
    header: headerFields(quote.header),
    tee: quote.body.kind,
    body: quote.body.kind === 'sgx' ? sgxBodyFields(quote.body.sgx) : tdxBodyFields(quote.body.tdx),
    signature: toHex(quote.signature),
    attestationKey: toHex(quote.attestationKey),
    qeReport: sgxBodyFields(quote.qe),
    qeSignature: toHex(quote.qeSignature),
    qeAuthentication: toHex(quote.qeAuthentication),
    certificationType: quote.certificationType,
    certification: certificationFields(certification),
    certificationData: certificates === null ? toHex(quote.certificationData) : null,
    certificates,
    padding: quote.padding,
  };
}

/**
 * Decodes evidence of any known format. Verifies nothing.
 * @throws AttestError EVIDENCE_MALFORMED, EVIDENCE_TOO_LARGE
 */
export function decodeEvidence(evidence: Uint8Array): DecodedEvidence {
  const bytes = takeEvidence(evidence);
  const format = evidenceFormat(bytes);
  if (format === 'snp-report') {
    const { form, report, certificates } = readSnpEvidence(bytes);
    return { format, form, ...snpReportFields(report), certificates: tableFields(certificates) };
  }
  if (format === 'evidence') {
    const quote = parseNestedQuote(bytes);
    return {
      format,
      header: headerFields(quote.header),
      body: sgxBodyFields(quote.body),
      signature: toHex(quote.signature),
      attestationKey: toHex(quote.attestationKey),
      snpReport: snpReportFields(quote.snpReport),
      certificates: quote.certificates.map((der) => certificateFields(der)),
    };
  }
  if (format === 'quote') return { format, ...dcapFields(parseDcapQuote(bytes)) };
  throw new AttestError('EVIDENCE_MALFORMED', `The ${bytes.length} bytes are no quote and no SNP report.`, {
    advice: "Give this system's evidence, an SNP report of 1184 bytes or a DCAP quote.",
  });
}
