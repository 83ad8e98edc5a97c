/** Appraisal of a raw SNP report with its certificates from the collateral. */
import { Appraisal, clause, ok, type Verdict } from '../appraisal.js';
import type { Collateral } from '../collateral.js';
import { AttestError } from '../errors.js';
import { runReportDataCheck } from '../quote/identity-checks.js';
import type { Request } from '../request.js';
import { derBlocks } from '../x509/pem.js';
import { runSnpChecks, SNP_CHECKS } from './checks.js';
import { parseSnpReport, type SnpReport } from './report.js';

/** All checks of a raw report, in order. */
export const RAW_SNP_CHECKS: readonly string[] = Object.freeze([
  'evidence.format',
  ...SNP_CHECKS,
  'report-data',
]);

/** The leaf and then the authorities that were given; empty without a leaf. @throws AttestError for unreadable files */
function givenCertificates(collateral: Collateral, leafRole: 'vcek' | 'vlek'): Uint8Array[] {
  const leafFile = collateral[leafRole];
  if (leafFile === undefined) return [];
  const certificates = [derBlocks(leafFile, 'CERTIFICATE', `The collateral '${leafRole}'`)[0]!];
  for (const role of ['ask', 'ark'] as const) {
    const file = collateral[role];
    if (file !== undefined) certificates.push(...derBlocks(file, 'CERTIFICATE', `The collateral '${role}'`));
  }
  return certificates;
}

/** Appraises a raw report. */
export async function appraiseSnp(input: Uint8Array, request: Request): Promise<Verdict> {
  const { policy, collateral } = request;
  const appraisal = new Appraisal(RAW_SNP_CHECKS);
  appraisal.claims['format'] = 'snp-report';
  let parsed: SnpReport | undefined;
  await appraisal.check('evidence.format', [], () => {
    parsed = parseSnpReport(input);
    return ok(`SNP report version ${parsed.version}, ${input.length} bytes`);
  });
  if (parsed === undefined) return appraisal.finish();
  const report = parsed;
  const leafRole = report.signingKey === 'VLEK' ? 'vlek' : 'vcek';
  let missingLeaf = `no ${leafRole.toUpperCase()} was given: put it into the collateral as ${leafRole}.der`;
  let certificates: Uint8Array[] = [];
  try {
    certificates = givenCertificates(collateral, leafRole);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    missingLeaf = clause(error.message);
  }
  const endorsement = await runSnpChecks(appraisal, {
    report,
    certificates,
    exactChain: false,
    missingLeaf,
    policy,
    time: request.time,
    crl: collateral.crl,
    vmpl: policy.snp.vmpl,
    launchDigests: policy.snp.launchDigest,
    launchDigestField: 'snp.launchDigest',
    launchDigestNeeded: false,
  });
  await runReportDataCheck(appraisal, report.reportData, request.reportData);
  const { claims } = appraisal;
  claims['launchDigest'] = (claims['snp'] as { launchDigest: string }).launchDigest;
  claims['isolation'] = endorsement?.root.kind === 'amd' ? 'sev-snp' : null;
  claims['root'] = endorsement === null ? null : { ...endorsement.root };
  return appraisal.finish();
}
