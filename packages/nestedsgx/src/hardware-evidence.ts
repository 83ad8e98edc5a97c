/** Evidence in which a real security processor takes the place of the software one. */
import {
  CERTIFICATION_DATA_NESTED,
  encodeNestedCertificationData,
  encodeQuote3,
  parseQuote3,
} from '@nestedsgx/arch';
import {
  type Collateral,
  keyBinding,
  parseCertificateTable,
  parseNestedQuote,
  parseSnpReport,
  type SnpReport,
  snpChain,
} from '@nestedsgx/attest';
import type { HardwareReport } from '@nestedsgx/machine';

/** What is asked of the hardware: `HardwarePsp` has it. */
export interface ReportSource {
  attest(reportData: Uint8Array, vmpl?: number): HardwareReport;
}

/** Evidence and the report in it. */
export interface HardwareEvidence {
  readonly evidence: Uint8Array;
  readonly report: SnpReport;
}

/**
 * A raw report over the caller's data with the certificates that the host gives: the report, then the table.
 * @throws MachineError as the source does
 */
export function rawHardwareEvidence(
  psp: ReportSource,
  reportData: Uint8Array,
  vmpl?: number,
): HardwareEvidence {
  const { report, certificateTable } = psp.attest(reportData, vmpl);
  const evidence = new Uint8Array(report.length + certificateTable.length);
  evidence.set(report);
  evidence.set(certificateTable, report.length);
  return { evidence, report: parseSnpReport(report) };
}

/**
 * The same enclave's evidence with an SNP report of the hardware over the monitor's attestation key, and its
 * certificates, in place of the software machine's. What the hardware measured at launch is then the guest in
 * which the monitor runs.
 * @throws MachineError as the source does; AttestError when a certificate is missing
 */
export function withHardwareReport(
  softwareEvidence: Uint8Array,
  psp: ReportSource,
  collateral: Collateral = {},
): HardwareEvidence {
  const { attestationKey } = parseNestedQuote(softwareEvidence);
  const { report: bytes, certificateTable } = psp.attest(keyBinding(attestationKey), 0);
  const report = parseSnpReport(bytes);
  const certificates = snpChain(report, parseCertificateTable(certificateTable), collateral);
  const evidence = encodeQuote3({
    ...parseQuote3(softwareEvidence),
    certificationDataType: CERTIFICATION_DATA_NESTED,
    certificationData: encodeNestedCertificationData({ report: bytes, certificates }),
  });
  return { evidence, report };
}
