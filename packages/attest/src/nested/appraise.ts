/** Appraisal of this system's evidence: enclave quote → monitor key → SNP report → VCEK → ASK → ARK. */
import { Appraisal, failed, ok, type Verdict } from '../appraisal.js';
import { concatBytes, paddedAscii, sameBytes, toHex } from '../bytes.js';
import { ISOLATIONS, type Isolation } from '../policy/index.js';
import { ENCLAVE_CHECKS, runEnclaveChecks, runReportDataCheck } from '../quote/identity-checks.js';
import { sgxBodyFields } from '../quote/sgx-body.js';
import type { Request } from '../request.js';
import { runSnpChecks, SNP_CHECKS } from '../snp/checks.js';
import type { Endorsement } from '../snp/endorsement.js';
import type { SnpReport } from '../snp/report.js';
import { digest, p256Spki, parsePublicKey, verifyEcdsa } from '../x509/keys.js';
import { type NestedQuote, parseNestedQuote } from './quote.js';

/** What REPORT_DATA hashes before the SubjectPublicKeyInfo of the monitor's key; ends in a zero byte. */
export const KEY_BINDING_LABEL = 'nestedsgx/attestation-key/v1\0';

/** FAMILY_ID of a software machine's report, zero padded to 16 bytes; IMAGE_ID is the isolation. */
export const SOFTWARE_FAMILY_ID = 'nestedsgx';

/** All checks of nested evidence, in order. */
export const NESTED_CHECKS: readonly string[] = Object.freeze([
  'evidence.format',
  'quote.signature',
  'monitor.key-binding',
  ...SNP_CHECKS,
  'isolation',
  ...ENCLAVE_CHECKS,
  'report-data',
]);

/**
 * The isolation that a report stands for. Under AMD's root it is the hardware's; under a software root it is
 * what the machine was launched with (FAMILY_ID "nestedsgx", IMAGE_ID), which its PSP signs.
 * Null when a software machine's report does not say, or claims what only hardware gives.
 */
export function isolationOf(report: SnpReport, endorsement: Endorsement): Isolation | null {
  if (endorsement.root.kind === 'amd') return 'sev-snp';
  if (paddedAscii(report.familyId) !== SOFTWARE_FAMILY_ID) return null;
  const value = paddedAscii(report.imageId);
  const isolation = ISOLATIONS.find((name) => name === value);
  return isolation === undefined || isolation === 'sev-snp' ? null : isolation;
}

/** REPORT_DATA that binds the monitor's key X ‖ Y: SHA-512(label ‖ SubjectPublicKeyInfo). */
export function keyBinding(attestationKey: Uint8Array): Uint8Array<ArrayBuffer> {
  return digest(
    'SHA-512',
    concatBytes(new TextEncoder().encode(KEY_BINDING_LABEL), p256Spki(attestationKey)),
  );
}

/** Appraises evidence that looks like this system's quote. */
export async function appraiseNested(input: Uint8Array, request: Request): Promise<Verdict> {
  const { policy, time } = request;
  const appraisal = new Appraisal(NESTED_CHECKS);
  const claims = appraisal.claims;
  claims['format'] = 'evidence';
  let parsed: NestedQuote | undefined;
  await appraisal.check('evidence.format', [], () => {
    parsed = parseNestedQuote(input);
    return ok(`quote version 3 with certification data 0x4e53 version 1, ${input.length} bytes`);
  });
  if (parsed === undefined) return appraisal.finish();
  const quote = parsed;

  await appraisal.check('quote.signature', ['evidence.format'], async () => {
    const key = parsePublicKey(p256Spki(quote.attestationKey));
    return (await verifyEcdsa(key, 'SHA-256', quote.signature, quote.signed))
      ? ok('header and report body are signed by the attestation key (ECDSA P-256 with SHA-256)')
      : failed(
          'the ECDSA P-256 signature over header and report body does not verify under the attestation key in the quote',
        );
  });
  await appraisal.check('monitor.key-binding', ['evidence.format'], () => {
    const expected = keyBinding(quote.attestationKey);
    return sameBytes(expected, quote.snpReport.reportData)
      ? ok('REPORT_DATA of the SNP report is the SHA-512 of the attestation key')
      : failed(
          `REPORT_DATA of the SNP report is ${toHex(quote.snpReport.reportData)}, the attestation key in the quote hashes to ${toHex(expected)}`,
        );
  });
  const endorsement = await runSnpChecks(appraisal, {
    report: quote.snpReport,
    certificates: quote.certificates,
    exactChain: true,
    missingLeaf: 'the evidence carries no certificates',
    policy,
    time,
    crl: request.collateral.crl,
    vmpl: 0,
    launchDigests: policy.nested.launchDigest,
    launchDigestField: 'nested.launchDigest',
    launchDigestNeeded: true,
  });
  await appraisal.check('isolation', ['snp.signature', 'snp.chain'], () => {
    const isolation = isolationOf(quote.snpReport, endorsement!);
    if (isolation === null) {
      const family = paddedAscii(quote.snpReport.familyId) ?? toHex(quote.snpReport.familyId);
      const image = paddedAscii(quote.snpReport.imageId) ?? toHex(quote.snpReport.imageId);
      return failed(
        `a software machine says 'same-user' or 'separate-user' in IMAGE_ID under FAMILY_ID '${SOFTWARE_FAMILY_ID}'; this report has FAMILY_ID '${family}', IMAGE_ID '${image}'`,
      );
    }
    claims['isolation'] = isolation;
    return policy.nested.isolation.includes(isolation)
      ? ok(`the machine's isolation is ${isolation}`)
      : failed(
          `the machine's isolation is ${isolation}, the policy accepts ${policy.nested.isolation.join(', ') || 'none'} (nested.isolation)`,
        );
  });
  await runEnclaveChecks(appraisal, quote.body, policy.nested, 'nested', true);
  await runReportDataCheck(appraisal, quote.body.reportData, request.reportData);

  Object.assign(claims, sgxBodyFields(quote.body));
  claims['isolation'] ??= null;
  claims['launchDigest'] = toHex(quote.snpReport.measurement);
  claims['attestationKey'] = toHex(quote.attestationKey);
  claims['root'] = endorsement === null ? null : { ...endorsement.root };
  return appraisal.finish();
}
