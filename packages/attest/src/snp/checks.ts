/** The checks on an SNP report that raw reports and nested evidence share. */
import { type Appraisal, type ClaimValue, failed, ok, unasked } from '../appraisal.js';
import { allZero, toHex } from '../bytes.js';
import type { Policy } from '../policy/index.js';
import { parseCertificate } from '../x509/certificate.js';
import { certificateLabel, timeText } from '../x509/chain.js';
import { parseRevocationList, revocationListFault } from '../x509/crl.js';
import { verifyEcdsa } from '../x509/keys.js';
import { derBlocks } from '../x509/pem.js';
import { type Endorsement, verifyEndorsement } from './endorsement.js';
import { SNP_SIGNED_BYTES, type SnpReport } from './report.js';
import { type SnpTcb, TCB_COMPONENTS, tcbText } from './tcb.js';

/** Ids of these checks, in order, up to the launch digest. */
export const SNP_CHECKS = [
  'snp.signature',
  'snp.chain',
  'snp.product',
  'snp.revocation',
  'snp.vmpl',
  'snp.policy',
  'snp.tcb',
  'snp.launch-digest',
  'snp.guest-svn',
  'snp.host-data',
  'snp.id-block',
] as const;

/** What the checks need to know. */
export interface SnpSubject {
  readonly report: SnpReport;
  /** DER, the leaf first. */
  readonly certificates: readonly Uint8Array[];
  /** True when the certificates are part of the evidence. */
  readonly exactChain: boolean;
  /** What to do when there is no leaf. */
  readonly missingLeaf: string;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly crl: Uint8Array | undefined;
  readonly vmpl: number;
  readonly launchDigests: readonly string[];
  /** The policy field that pins launch digests, and whether the evidence fails when it is empty. */
  readonly launchDigestField: 'nested.launchDigest' | 'snp.launchDigest';
  readonly launchDigestNeeded: boolean;
}

type Minimum = { readonly [K in keyof SnpTcb]?: number | undefined };

function belowMinimum(tcb: SnpTcb, minimum: Minimum, which: string, field: string): string | null {
  for (const name of TCB_COMPONENTS) {
    const least = minimum[name];
    if (least === undefined) continue;
    const level = tcb[name];
    if (level === null)
      return `the policy wants ${name} ${least} (snp.${field}), the ${which} TCB has no ${name}`;
    if (level < least)
      return `the ${which} TCB has ${name} ${level}, the policy wants ${least} or more (snp.${field})`;
  }
  return null;
}

/** The claims that a report makes, as JSON. */
export function snpClaims(report: SnpReport): Record<string, ClaimValue> {
  const tcb = (value: SnpTcb): ClaimValue => ({ ...value });
  return {
    reportVersion: report.version,
    vmpl: report.vmpl,
    launchDigest: toHex(report.measurement),
    guestSvn: report.guestSvn,
    policy: report.policy.raw.toString(16).padStart(16, '0'),
    debugAllowed: report.policy.debugAllowed,
    migrationAgentAllowed: report.policy.migrationAgentAllowed,
    smtAllowed: report.policy.smtAllowed,
    reportedTcb: tcb(report.reportedTcb),
    committedTcb: tcb(report.committedTcb),
    currentTcb: tcb(report.currentTcb),
    launchTcb: tcb(report.launchTcb),
    firmware: report.currentVersion,
    platformInfo: report.platformInfo.toString(16).padStart(16, '0'),
    chipId: toHex(report.chipId),
    hostData: toHex(report.hostData),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    signingKey: report.signingKey,
  };
}

function pinned(value: Uint8Array, accepted: readonly string[], field: string, what: string) {
  if (accepted.length === 0) return null;
  const hex = toHex(value);
  if (accepted.includes(hex)) return ok(`${what} ${hex} is one that the policy names (${field})`);
  return failed(`${what} is ${hex}, the policy names ${accepted.join(', ')} (${field})`);
}

/**
 * Runs {@link SNP_CHECKS} after `evidence.format`.
 * @returns the endorsement when `snp.chain` is ok, else null
 */
export async function runSnpChecks(appraisal: Appraisal, subject: SnpSubject): Promise<Endorsement | null> {
  const { report, policy, time } = subject;
  const format = ['evidence.format'];
  let endorsement: Endorsement | null = null;

  await appraisal.check('snp.signature', format, async () => {
    const leaf = subject.certificates[0];
    if (leaf === undefined) return failed(subject.missingLeaf);
    if (report.signingKey === 'none') return failed('the report says that no key signed it');
    const { publicKey } = parseCertificate(leaf);
    if (publicKey.kind !== 'ec' || publicKey.curve !== 'P-384')
      return failed('the key of the leaf certificate is not P-384');
    const signed = report.raw.subarray(0, SNP_SIGNED_BYTES);
    return (await verifyEcdsa(publicKey, 'SHA-384', report.signature, signed))
      ? ok(`the report is signed by the ${report.signingKey} given (ECDSA P-384 with SHA-384)`)
      : failed(
          `the ECDSA P-384 signature over the report does not verify under the key of the given ${report.signingKey}`,
        );
  });

  await appraisal.check('snp.chain', format, async () => {
    if (subject.certificates.length === 0) return failed(subject.missingLeaf);
    endorsement = await verifyEndorsement(report, subject.certificates, subject.exactChain, policy, time);
    const { root, chain, leaf } = endorsement;
    const names = chain.map((certificate) => certificate.subject.commonName).join(' ← ');
    const whose =
      root.kind === 'amd' ? `AMD's root for ${root.product}` : 'a software root that the policy names';
    const chip =
      leaf.hwid === null ? '' : allZero(report.chipId) ? ', chip id masked in the report' : ' and chip id';
    return ok(
      `${names}, ${whose} (${root.fingerprint}), valid at ${timeText(time)}; TCB${chip} equal the report's`,
    );
  });

  await appraisal.check('snp.product', ['snp.chain'], () => {
    const accepted = policy.snp.products;
    const product = endorsement!.root.kind === 'amd' ? endorsement!.root.product : null;
    if (product === null) return unasked('a software machine is no AMD product');
    if (accepted.length === 0) return unasked(`the policy names no products (this is ${product})`);
    if (accepted.includes(product)) return ok(`${product} is one that the policy names`);
    return failed(`the product is ${product}, the policy names ${accepted.join(', ')} (snp.products)`);
  });

  await appraisal.check('snp.revocation', ['snp.chain'], async () => {
    const { root, chain } = endorsement!;
    if (root.kind === 'software') return unasked('a software machine has no revocation list');
    if (subject.crl === undefined) {
      if (policy.snp.requireRevocationList) {
        return failed(
          'the policy wants a revocation list (snp.requireRevocationList) and none was given as crl.der',
        );
      }
      return unasked('no revocation list was given');
    }
    const list = parseRevocationList(derBlocks(subject.crl, 'X509 CRL', 'The revocation list')[0]!);
    const fault = await revocationListFault(list, chain[2]!, time);
    if (fault !== null) return failed(fault);
    if (list.serials.has(chain[1]!.serial)) {
      return failed(`${certificateLabel(chain[1]!)}, serial ${chain[1]!.serial}, is revoked`);
    }
    return ok(`${certificateLabel(chain[1]!)} is not on the list of ${timeText(list.thisUpdate)}`);
  });

  await appraisal.check('snp.vmpl', format, () =>
    report.vmpl === subject.vmpl
      ? ok(`the report was asked for at VMPL ${report.vmpl}`)
      : failed(`the report was asked for at VMPL ${report.vmpl}, VMPL ${subject.vmpl} is needed`),
  );

  await appraisal.check('snp.policy', format, () => {
    const guest = report.policy;
    const raw = `0x${guest.raw.toString(16)}`;
    if (!guest.reservedAsDefined)
      return failed(`the guest policy ${raw} has a reserved bit other than the ABI defines`);
    if (guest.debugAllowed && !policy.snp.allowDebug) {
      return failed(
        `the guest policy ${raw} allows the host to debug the guest (bit 19) and the policy does not accept that`,
      );
    }
    if (guest.migrationAgentAllowed && !policy.snp.allowMigrationAgent) {
      return failed(
        `the guest policy ${raw} allows a migration agent (bit 18) and the policy does not accept that`,
      );
    }
    if (guest.smtAllowed && policy.snp.refuseSmt) {
      return failed(`the guest policy ${raw} allows SMT (bit 16) and the policy refuses it`);
    }
    const debug = guest.debugAllowed ? 'debug allowed and accepted' : 'no debug';
    const agent = guest.migrationAgentAllowed ? 'migration agent allowed and accepted' : 'no migration agent';
    return ok(`guest policy ${raw}: ${debug}, ${agent}`);
  });

  await appraisal.check('snp.tcb', format, () => {
    const wanted = [
      ['reported', report.reportedTcb, policy.snp.minTcb, 'minTcb'],
      ['committed', report.committedTcb, policy.snp.minCommittedTcb, 'minCommittedTcb'],
      ['current', report.currentTcb, policy.snp.minCurrentTcb, 'minCurrentTcb'],
      ['launch', report.launchTcb, policy.snp.minLaunchTcb, 'minLaunchTcb'],
    ] as const;
    for (const [which, tcb, minimum, field] of wanted) {
      const below = belowMinimum(tcb, minimum, which, field);
      if (below !== null) return failed(below);
    }
    if (wanted.every(([, , minimum]) => Object.keys(minimum).length === 0)) {
      return unasked(`the policy names no minimum TCB (reported: ${tcbText(report.reportedTcb)})`);
    }
    return ok(`the reported TCB (${tcbText(report.reportedTcb)}) is at or above the policy's minimum`);
  });

  await appraisal.check('snp.launch-digest', format, () => {
    const field = subject.launchDigestField;
    const outcome = pinned(report.measurement, subject.launchDigests, field, 'the launch digest');
    if (outcome !== null) return outcome;
    const hex = toHex(report.measurement);
    if (!subject.launchDigestNeeded)
      return unasked(`the policy pins none (${field}); the report's is ${hex}`);
    return failed(
      `the policy pins none (${field}), so any monitor would do; the evidence says ${hex}: pin it after comparing it with 'nsgx measure --cvm'`,
    );
  });

  await appraisal.check('snp.guest-svn', format, () => {
    const least = policy.snp.minGuestSvn;
    if (least === undefined)
      return unasked(`the policy names no minimum (the guest SVN is ${report.guestSvn})`);
    if (report.guestSvn < least)
      return failed(`the guest SVN is ${report.guestSvn}, the policy wants ${least} or more`);
    return ok(`the guest SVN ${report.guestSvn} is at or above ${least}`);
  });

  await appraisal.check(
    'snp.host-data',
    format,
    () =>
      pinned(report.hostData, policy.snp.hostData, 'snp.hostData', 'HOST_DATA') ??
      unasked('the policy names no HOST_DATA'),
  );

  await appraisal.check('snp.id-block', format, () => {
    const { idKeyDigest, authorKeyDigest } = policy.snp;
    const id = pinned(report.idKeyDigest, idKeyDigest, 'snp.idKeyDigest', 'the ID key digest');
    if (id?.status === 'failed') return id;
    if (authorKeyDigest.length > 0 && !report.authorKeyEnabled)
      return failed('the report says that no author key signed the ID key');
    const author = pinned(
      report.authorKeyDigest,
      authorKeyDigest,
      'snp.authorKeyDigest',
      'the author key digest',
    );
    return author ?? id ?? unasked('the policy names no ID or author key');
  });

  appraisal.claims['snp'] = snpClaims(report);
  return endorsement;
}
