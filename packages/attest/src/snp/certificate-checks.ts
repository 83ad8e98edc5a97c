/** The checks on an SNP report that look at its signature and at the certificates under it. */
import { type Appraisal, failed, type Outcome, ok, unasked } from '../appraisal.js';
import { allZero, sameBytes, toHex } from '../bytes.js';
import type { Certificate } from '../x509/certificate.js';
import { certificateLabel, timeText } from '../x509/chain.js';
import { parseRevocationList, revocationListFault } from '../x509/crl.js';
import { verifyEcdsa } from '../x509/keys.js';
import { derBlocks } from '../x509/pem.js';
import { type Endorsement, readLeaf, verifyEndorsement } from './endorsement.js';
import type { SnpLeaf } from './leaf.js';
import { SNP_SIGNED_BYTES } from './report.js';
import { pinned, type SnpSubject } from './subject.js';
import { TCB_COMPONENTS, tcbText } from './tcb.js';

/** Ids of these checks, in order. */
export const SNP_CERTIFICATE_CHECKS = [
  'snp.signature',
  'snp.chain',
  'snp.product',
  'snp.revocation',
  'snp.signing-key',
  'snp.chip-id',
  'snp.certificate-tcb',
] as const;

const FORMAT = ['evidence.format'];

function signatureOutcome({ report }: SnpSubject, { publicKey }: Certificate): Outcome {
  if (report.signingKey === 'none') return failed('the report says that no key signed it');
  if (publicKey.kind !== 'ec' || publicKey.curve !== 'P-384')
    return failed('the key of the leaf certificate is not P-384');
  const signed = report.raw.subarray(0, SNP_SIGNED_BYTES);
  return verifyEcdsa(publicKey, 'SHA-384', report.signature, signed)
    ? ok(`the report is signed by the ${report.signingKey} given (ECDSA P-384 with SHA-384)`)
    : failed(
        `the ECDSA P-384 signature over the report does not verify under the key of the given ${report.signingKey}`,
      );
}

function productOutcome({ report, policy }: SnpSubject, { root }: Endorsement, leaf: SnpLeaf): Outcome {
  if (root.kind !== 'amd') return unasked('a software machine is no AMD product');
  const { product } = root;
  if (leaf.productName !== product && !leaf.productName.startsWith(`${product}-`))
    return failed(`the ${leaf.kind} names product '${leaf.productName}', its root is that of ${product}`);
  const { cpu } = report;
  if (cpu === null && product === 'Turin')
    return failed('a Turin makes reports of version 3 and later, which name their processor');
  if (cpu !== null && report.product !== product)
    return failed(
      `the report is of a processor of family 0x${cpu.family.toString(16)}, model 0x${cpu.model.toString(16)} (${report.product ?? 'no known product'}), the root is that of ${product}`,
    );
  const named = cpu === null ? '' : ' and the processor of the report';
  const accepted = policy.snp.products;
  if (accepted.length > 0 && !accepted.includes(product))
    return failed(`the product is ${product}, the policy names ${accepted.join(', ')} (snp.products)`);
  return ok(`root, ${leaf.kind}${named} are of ${product}`);
}

function revocationOutcome({ crl, policy, time }: SnpSubject, { root, chain }: Endorsement): Outcome {
  const [, authority, ark] = chain;
  const list =
    crl === undefined ? null : parseRevocationList(derBlocks(crl, 'X509 CRL', 'The revocation list')[0]!);
  // A list of AMD's says nothing of a software machine.
  const ours = list !== null && sameBytes(list.issuer.encoding, ark.subject.encoding);
  if (root.kind === 'software' && !ours)
    return unasked('no revocation list of this software machine was given');
  if (list === null) {
    return policy.snp.requireRevocationList
      ? failed('the policy wants a revocation list (snp.requireRevocationList) and none was given as crl.der')
      : unasked('no revocation list was given');
  }
  const fault = revocationListFault(list, ark, time);
  if (fault !== null) return failed(fault);
  const revoked = [authority, ark].find((certificate) => list.serials.has(certificate.serial));
  if (revoked !== undefined)
    return failed(`${certificateLabel(revoked)}, serial ${revoked.serial}, is revoked`);
  return ok(`${certificateLabel(authority)} is not on the list of ${timeText(list.thisUpdate)}`);
}

function signingKeyOutcome({ report, policy }: SnpSubject, leaf: SnpLeaf): Outcome {
  if (report.signingKey !== leaf.kind)
    return failed(`the report says that its ${report.signingKey} signed, the leaf is a ${leaf.kind}`);
  if (report.maskChipKey && leaf.kind === 'VCEK')
    return failed('the report says that the chip key is masked (MASK_CHIP_KEY), and that it signed');
  const { signingKeys, cspId } = policy.snp;
  if (signingKeys.length > 0 && !signingKeys.includes(leaf.kind))
    return failed(`a ${leaf.kind} signed, the policy names ${signingKeys.join(', ')} (snp.signingKeys)`);
  if (cspId.length > 0 && (leaf.cspId === null || !cspId.includes(leaf.cspId))) {
    const given = leaf.cspId === null ? 'a VCEK names no provider' : `the VLEK is of '${leaf.cspId}'`;
    return failed(`${given}, the policy names ${cspId.join(', ')} (snp.cspId)`);
  }
  return ok(leaf.cspId === null ? 'a VCEK signed' : `a VLEK signed, issued to '${leaf.cspId}'`);
}

function chipIdOutcome(
  { report, policy }: SnpSubject,
  leaf: SnpLeaf,
  endorsement: Endorsement | null,
): Outcome {
  const { chipId } = report;
  const masked = allZero(chipId);
  const software = endorsement?.root.kind === 'software';
  if (masked && (policy.snp.refuseMaskedChipId || software))
    return failed(
      software
        ? 'the report names no chip, as a software machine does'
        : 'the host masks the chip id and the policy refuses that (snp.refuseMaskedChipId)',
    );
  if (endorsement?.root.kind === 'amd' && leaf.hwid !== null) {
    const wanted = endorsement.root.product === 'Turin' ? 8 : 64;
    if (leaf.hwid.length !== wanted)
      return failed(
        `the hwid of a VCEK of ${endorsement.root.product} has ${wanted} bytes, this one ${leaf.hwid.length}`,
      );
  }
  if (leaf.hwid !== null && !masked) {
    const padded = new Uint8Array(64);
    padded.set(leaf.hwid);
    if (!sameBytes(padded, chipId))
      return failed(
        `the VCEK is of chip ${toHex(leaf.hwid.subarray(0, 8))}…, the report of chip ${toHex(chipId.subarray(0, 8))}…`,
      );
  }
  const outcome = pinned(chipId, policy.snp.chipId, 'snp.chipId', 'the chip id');
  if (outcome !== null) return outcome;
  if (masked) return ok('the host masks the chip id');
  return leaf.hwid === null
    ? unasked('a VLEK is of no one chip, and the policy names none')
    : ok(`the VCEK is of the report's chip ${toHex(chipId.subarray(0, 8))}…`);
}

function certificateTcbOutcome({ report }: SnpSubject, leaf: SnpLeaf): Outcome {
  for (const name of TCB_COMPONENTS) {
    if (leaf.tcb[name] !== report.reportedTcb[name])
      return failed(
        `the ${leaf.kind} is for TCB (${tcbText(leaf.tcb)}), the report says (${tcbText(report.reportedTcb)}): ${name} differs`,
      );
  }
  return ok(`the ${leaf.kind} is for the reported TCB (${tcbText(leaf.tcb)})`);
}

/**
 * Runs {@link SNP_CERTIFICATE_CHECKS} after `evidence.format`.
 * @returns the endorsement when `snp.chain` is ok, else null
 */
export async function runCertificateChecks(
  appraisal: Appraisal,
  subject: SnpSubject,
): Promise<{ endorsement: Endorsement | null; leaf: SnpLeaf | null }> {
  const { certificates } = subject;
  let endorsement: Endorsement | null = null;
  let read: ReturnType<typeof readLeaf> | null = null;
  const needLeaf = (): ReturnType<typeof readLeaf> => {
    read ??= readLeaf(certificates[0]!);
    return read;
  };
  /** For checks on a leaf, whoever issued it: each names its own defect. */
  const onLeaf = (judge: (leaf: SnpLeaf, certificate: Certificate) => Outcome): Outcome => {
    if (certificates.length === 0) return failed(subject.missingLeaf);
    const { leaf, certificate } = needLeaf();
    return judge(leaf, certificate);
  };

  await appraisal.check('snp.signature', FORMAT, () =>
    onLeaf((_, certificate) => signatureOutcome(subject, certificate)),
  );
  await appraisal.check('snp.chain', FORMAT, () => {
    if (certificates.length === 0) return failed(subject.missingLeaf);
    endorsement = verifyEndorsement(certificates, subject.exactChain, subject.policy, subject.time);
    const { root, chain } = endorsement;
    const names = chain.map((certificate) => certificate.subject.commonName).join(' ← ');
    const whose =
      root.kind === 'amd' ? `AMD's root for ${root.product}` : 'a software root that the policy names';
    return ok(`${names}, ${whose} (${root.fingerprint}), valid at ${timeText(subject.time)}`);
  });
  await appraisal.check('snp.product', ['snp.chain'], () =>
    productOutcome(subject, endorsement!, needLeaf().leaf),
  );
  await appraisal.check('snp.revocation', ['snp.chain'], () => revocationOutcome(subject, endorsement!));
  await appraisal.check('snp.signing-key', FORMAT, () =>
    onLeaf((given) => signingKeyOutcome(subject, given)),
  );
  await appraisal.check('snp.chip-id', FORMAT, () =>
    onLeaf((given) => chipIdOutcome(subject, given, endorsement)),
  );
  await appraisal.check('snp.certificate-tcb', FORMAT, () =>
    onLeaf((given) => certificateTcbOutcome(subject, given)),
  );
  return { endorsement, leaf: (read as ReturnType<typeof readLeaf> | null)?.leaf ?? null };
}
