/** Appraisal of a raw SNP report with the certificates that came with it or are in the collateral. */
import { Appraisal, clause, ok, type Verdict } from '../appraisal.js';
import { AttestError } from '../errors.js';
import type { Policy } from '../policy/index.js';
import { runReportDataCheck } from '../quote/identity-checks.js';
import type { Request } from '../request.js';
import { runSnpChecks, SNP_CHECKS } from './checks.js';
import { readSnpEvidence, type SnpEvidence } from './evidence.js';
import { givenCertificates, givenTable } from './given-certificates.js';

/** All checks of a raw report, in order. */
export const RAW_SNP_CHECKS: readonly string[] = Object.freeze([
  'evidence.format',
  ...SNP_CHECKS,
  'report-data',
]);

/** Whether the policy says which guests, by keys that sign launches, or that any will do. */
function measurementPinned({ snp }: Policy): boolean {
  return snp.allowAnyMeasurement || snp.idKeyDigest.length > 0 || snp.authorKeyDigest.length > 0;
}

/** Appraises a raw report. */
export async function appraiseSnp(input: Uint8Array, request: Request): Promise<Verdict> {
  const { policy, collateral } = request;
  const appraisal = new Appraisal(RAW_SNP_CHECKS);
  appraisal.claims['format'] = 'snp-report';
  let read: SnpEvidence | undefined;
  await appraisal.check('evidence.format', [], () => {
    read = readSnpEvidence(input);
    const what = read.form === 'report' ? 'SNP report' : `${read.form} of SNP`;
    return ok(`${what}, version ${read.report.version}, ${input.length} bytes`);
  });
  if (read === undefined) return appraisal.finish();
  const { report } = read;
  let table = read.certificates;
  const leafRole = report.signingKey === 'VLEK' ? 'vlek' : 'vcek';
  let missingLeaf = `no ${leafRole.toUpperCase()} was given: put it into the collateral as ${leafRole}.der`;
  let certificates: Uint8Array[] = [];
  try {
    table = givenTable(collateral, table);
    certificates = givenCertificates(collateral, table, leafRole);
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
    crl: collateral.crl ?? table.crl,
    vmpl: policy.snp.vmpl,
    launchDigests: policy.snp.launchDigest,
    launchDigestField: 'snp.launchDigest',
    launchDigestNeeded: !measurementPinned(policy),
  });
  await runReportDataCheck(appraisal, report.reportData, request.reportData);
  const { claims } = appraisal;
  claims['launchDigest'] = (claims['snp'] as { launchDigest: string }).launchDigest;
  claims['isolation'] = endorsement?.root.kind === 'amd' ? 'sev-snp' : null;
  claims['root'] = endorsement === null ? null : { ...endorsement.root };
  return appraisal.finish();
}
