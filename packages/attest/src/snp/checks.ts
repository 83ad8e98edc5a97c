/** The checks on an SNP report that raw reports and nested evidence share, and the claims that it makes. */
import type { Appraisal, ClaimValue } from '../appraisal.js';
import { toHex } from '../bytes.js';
import { runCertificateChecks, SNP_CERTIFICATE_CHECKS } from './certificate-checks.js';
import type { Endorsement } from './endorsement.js';
import { runFieldChecks, SNP_FIELD_CHECKS } from './field-checks.js';
import type { SnpLeaf } from './leaf.js';
import type { FirmwareVersion, SnpReport } from './report.js';
import type { SnpSubject } from './subject.js';
import type { SnpTcb } from './tcb.js';

/** Ids of these checks, in order. */
export const SNP_CHECKS = [...SNP_CERTIFICATE_CHECKS, ...SNP_FIELD_CHECKS] as const;

const hex64 = (value: bigint) => value.toString(16).padStart(16, '0');
/** `major.minor.build`. */
export const firmwareVersion = ({ major, minor, build }: FirmwareVersion) => `${major}.${minor}.${build}`;

/** The claims that a report and its leaf make, as JSON. */
function snpClaims(report: SnpReport, leaf: SnpLeaf | null): Record<string, ClaimValue> {
  const tcb = (value: SnpTcb): ClaimValue => ({ ...value });
  return {
    reportVersion: report.version,
    product: leaf?.productName ?? report.product,
    vmpl: report.vmpl,
    launchDigest: toHex(report.measurement),
    guestSvn: report.guestSvn,
    policy: hex64(report.policy.raw),
    debugAllowed: report.policy.debugAllowed,
    migrationAgentAllowed: report.policy.migrationAgentAllowed,
    smtAllowed: report.policy.smtAllowed,
    reportedTcb: tcb(report.reportedTcb),
    committedTcb: tcb(report.committedTcb),
    currentTcb: tcb(report.currentTcb),
    launchTcb: tcb(report.launchTcb),
    firmware: firmwareVersion(report.currentFirmware),
    committedFirmware: firmwareVersion(report.committedFirmware),
    platformInfo: hex64(report.platformInfo.raw),
    launchMitigations: report.launchMitigations === null ? null : hex64(report.launchMitigations),
    currentMitigations: report.currentMitigations === null ? null : hex64(report.currentMitigations),
    chipId: toHex(report.chipId),
    hostData: toHex(report.hostData),
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    signingKey: report.signingKey,
    cspId: leaf?.cspId ?? null,
  };
}

/**
 * Runs {@link SNP_CHECKS} after `evidence.format`.
 * @returns the endorsement when `snp.chain` is ok, else null
 */
export async function runSnpChecks(appraisal: Appraisal, subject: SnpSubject): Promise<Endorsement | null> {
  const { endorsement, leaf } = await runCertificateChecks(appraisal, subject);
  await runFieldChecks(appraisal, subject);
  appraisal.claims['snp'] = snpClaims(subject.report, leaf);
  return endorsement;
}
