/**
 * Appraisal of DCAP quotes: quote → attestation key → QE report → PCK → Intel's root, and the TCB status that
 * Intel's signed documents give the platform. Offline: documents and lists come from the collateral.
 */
import { Appraisal, failed, ok, unasked, type Verdict } from '../appraisal.js';
import { allZero, concatBytes, sameBytes, toHex } from '../bytes.js';
import type { Collateral } from '../collateral.js';
import { AttestError } from '../errors.js';
import { ENCLAVE_CHECKS, runEnclaveChecks, runReportDataCheck } from '../quote/identity-checks.js';
import { sgxBodyFields } from '../quote/sgx-body.js';
import type { Request } from '../request.js';
import { INTEL_ROOT, INTEL_ROOT_FINGERPRINT } from '../x509/built-in-roots.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import { certificateLabel, chainFault, keyFingerprint, orderChain, timeText } from '../x509/chain.js';
import { parseRevocationList, revocationListFault } from '../x509/crl.js';
import { digest, p256Spki, parsePublicKey, verifyEcdsa } from '../x509/keys.js';
import { derBlocks, fromBase64, readCertificates } from '../x509/pem.js';
import {
  type EnclaveIdentity,
  readIdentity,
  readTcbInfo,
  type SignedDocument,
  type TcbInfo,
} from './documents.js';
import { type PckPlatform, parsePckPlatform } from './pck.js';
import { type DcapQuote, parseDcapQuote, tdxBodyFields } from './quote.js';
import { converge, type Evaluation, evaluatePlatform, evaluateQe } from './tcb-status.js';

const COMMON = [
  'evidence.format',
  'quote.signature',
  'dcap.qe-binding',
  'dcap.pck-chain',
  'dcap.qe-signature',
  'dcap.revocation',
  'dcap.tcb-info',
  'dcap.qe-identity',
  'dcap.tcb-status',
];

/** All checks of an SGX quote, in order. */
export const DCAP_SGX_CHECKS: readonly string[] = Object.freeze([
  ...COMMON,
  ...ENCLAVE_CHECKS,
  'report-data',
]);
/** All checks of a TDX quote, in order. */
export const DCAP_TDX_CHECKS: readonly string[] = Object.freeze([
  ...COMMON,
  'td.mrtd',
  'td.debug',
  'report-data',
]);

let builtInRoot: Certificate | undefined;

function intelRoot(): Certificate {
  builtInRoot ??= parseCertificate(fromBase64(INTEL_ROOT)!);
  return builtInRoot;
}

function need(collateral: Collateral, role: keyof Collateral, file: string): Uint8Array {
  const bytes = collateral[role];
  if (bytes === undefined)
    throw new AttestError('COLLATERAL_MALFORMED', `no ${file} was given in the collateral`);
  return bytes;
}

/** A chain from `leaf` to Intel's root, verified. @throws AttestError with the reason */
async function intelChain(
  leaf: Certificate,
  others: readonly Certificate[],
  time: number,
): Promise<Certificate[]> {
  const refuse = (reason: string): never => {
    throw new AttestError('EVIDENCE_MALFORMED', reason);
  };
  const chain = orderChain(leaf, [...others, intelRoot()]);
  if (chain === null)
    return refuse(
      `no certificate of '${leaf.issuer.commonName}', the issuer of ${certificateLabel(leaf)}, is given`,
    );
  const unused = others.find((certificate) => !chain.includes(certificate));
  if (unused !== undefined) return refuse(`${certificateLabel(unused)} is given and is no part of the chain`);
  const fault = await chainFault(chain, time);
  if (fault !== null) return refuse(fault);
  const root = chain[chain.length - 1]!;
  const fingerprint = keyFingerprint(root);
  if (fingerprint !== INTEL_ROOT_FINGERPRINT) {
    return refuse(
      `the root ${certificateLabel(root)} has the key fingerprint ${fingerprint}, Intel's is ${INTEL_ROOT_FINGERPRINT}`,
    );
  }
  return chain;
}

async function pckChain(quote: DcapQuote, time: number): Promise<Certificate[]> {
  if (quote.certificationType !== 5) {
    throw new AttestError(
      'EVIDENCE_MALFORMED',
      `the quote has certification data of type ${quote.certificationType}; only type 5, which carries the PCK chain, is verified`,
    );
  }
  let end = quote.certificationData.length;
  while (end > 0 && quote.certificationData[end - 1] === 0) end--;
  const certificates = readCertificates(quote.certificationData.subarray(0, end), 'The PCK chain');
  const leaf = certificates.find(
    (certificate) => certificate.subject.commonName === 'Intel SGX PCK Certificate',
  );
  if (leaf === undefined)
    throw new AttestError('EVIDENCE_MALFORMED', "the chain has no 'Intel SGX PCK Certificate'");
  return intelChain(leaf, certificates, time);
}

/** Verifies a document under the TCB signing chain of the collateral. @throws AttestError with the reason */
async function documentFault(
  document: SignedDocument<{ issueDate: string; nextUpdate: string }>,
  collateral: Collateral,
  rootList: ReturnType<typeof parseRevocationList>,
  time: number,
): Promise<string | null> {
  const certificates = readCertificates(need(collateral, 'tcbSigning', 'tcb-signing.pem'), 'tcb-signing.pem');
  const leaf = certificates.find((certificate) => certificate.subject.commonName === 'Intel SGX TCB Signing');
  if (leaf === undefined) return "tcb-signing.pem has no 'Intel SGX TCB Signing' certificate";
  await intelChain(leaf, certificates, time);
  if (rootList.serials.has(leaf.serial)) return `${certificateLabel(leaf)} is revoked`;
  if (!(await verifyEcdsa(leaf.publicKey, 'SHA-256', document.signature, document.signed))) {
    return `its signature is not by the key of ${certificateLabel(leaf)}`;
  }
  const { issueDate, nextUpdate } = document.value;
  if (time < Date.parse(issueDate))
    return `it was issued at ${issueDate}, after the time of verification ${timeText(time)}`;
  if (time > Date.parse(nextUpdate))
    return `it was to be replaced at ${nextUpdate}, before the time of verification ${timeText(time)}`;
  return null;
}

/** Appraises a DCAP quote. */
export async function appraiseDcap(input: Uint8Array, request: Request): Promise<Verdict> {
  const { policy, collateral, time } = request;
  let quote: DcapQuote;
  let appraisal = new Appraisal(DCAP_SGX_CHECKS);
  try {
    quote = parseDcapQuote(input);
  } catch (error) {
    await appraisal.check('evidence.format', [], () => {
      throw error;
    });
    appraisal.claims['format'] = 'quote';
    return appraisal.finish();
  }
  const tdx = quote.body.kind === 'tdx' ? quote.body.tdx : null;
  if (tdx !== null) appraisal = new Appraisal(DCAP_TDX_CHECKS);
  const { claims } = appraisal;
  claims['format'] = 'quote';
  claims['tee'] = quote.body.kind;
  claims['tcbStatus'] = null;

  await appraisal.check('evidence.format', [], () =>
    ok(`${quote.body.kind.toUpperCase()} quote version ${quote.header.version}, ${input.length} bytes`),
  );
  await appraisal.check('quote.signature', ['evidence.format'], async () =>
    (await verifyEcdsa(
      parsePublicKey(p256Spki(quote.attestationKey)),
      'SHA-256',
      quote.signature,
      quote.signed,
    ))
      ? ok('header and body are signed by the attestation key (ECDSA P-256 with SHA-256)')
      : failed(
          'the ECDSA P-256 signature over header and body does not verify under the attestation key in the quote',
        ),
  );
  await appraisal.check('dcap.qe-binding', ['evidence.format'], () => {
    const hash = digest('SHA-256', concatBytes(quote.attestationKey, quote.qeAuthentication));
    const { reportData } = quote.qe;
    return sameBytes(reportData.subarray(0, 32), hash) && allZero(reportData.subarray(32))
      ? ok("the QE report's data are the SHA-256 of attestation key and authentication data")
      : failed(
          `the QE report's data are ${toHex(reportData)}, attestation key and authentication data hash to ${toHex(hash)}`,
        );
  });

  let chain: Certificate[] | undefined;
  let platform: PckPlatform | undefined;
  await appraisal.check('dcap.pck-chain', ['evidence.format'], async () => {
    const verified = await pckChain(quote, time);
    platform = parsePckPlatform(verified[0]!);
    chain = verified;
    claims['fmspc'] = toHex(platform.fmspc);
    return ok(
      `${verified.map((certificate) => certificate.subject.commonName).join(' ← ')}, Intel's root, valid at ${timeText(time)}`,
    );
  });
  await appraisal.check('dcap.qe-signature', ['dcap.pck-chain'], async () =>
    (await verifyEcdsa(chain![0]!.publicKey, 'SHA-256', quote.qeSignature, quote.qeReport))
      ? ok('the QE report is signed by the PCK')
      : failed('the ECDSA P-256 signature over the QE report does not verify under the PCK'),
  );
  let rootList: ReturnType<typeof parseRevocationList> | undefined;
  await appraisal.check('dcap.revocation', ['dcap.pck-chain'], async () => {
    const read = (role: 'rootCrl' | 'pckCrl', file: string) =>
      parseRevocationList(derBlocks(need(collateral, role, file), 'X509 CRL', file)[0]!);
    const root = read('rootCrl', 'root-crl.der');
    const pck = read('pckCrl', 'pck-crl.der');
    const [leaf, authority, anchor] = [chain![0]!, chain![1]!, chain![chain!.length - 1]!];
    const fault =
      (await revocationListFault(root, anchor, time)) ?? (await revocationListFault(pck, authority, time));
    if (fault !== null) return failed(fault);
    if (root.serials.has(authority.serial)) return failed(`${certificateLabel(authority)} is revoked`);
    if (pck.serials.has(leaf.serial))
      return failed(`${certificateLabel(leaf)}, serial ${leaf.serial}, is revoked`);
    rootList = root;
    return ok(
      `neither PCK nor its authority is on Intel's lists of ${timeText(pck.thisUpdate)} and ${timeText(root.thisUpdate)}`,
    );
  });

  let info: TcbInfo | undefined;
  await appraisal.check('dcap.tcb-info', ['dcap.revocation'], async () => {
    const document = readTcbInfo(need(collateral, 'tcbInfo', 'tcb-info.json'));
    const fault = await documentFault(document, collateral, rootList!, time);
    if (fault !== null) return failed(`the TCB info cannot be relied on: ${fault}`);
    const { value } = document;
    const kind = tdx === null ? 'SGX' : 'TDX';
    if (value.id !== kind) return failed(`the TCB info is for ${value.id}, the quote is of ${kind}`);
    if (
      value.fmspc.toLowerCase() !== toHex(platform!.fmspc) ||
      value.pceId.toLowerCase() !== toHex(platform!.pceId)
    ) {
      return failed(
        `the TCB info is for FMSPC ${value.fmspc.toLowerCase()} and PCE ${value.pceId.toLowerCase()}, the PCK for ${toHex(platform!.fmspc)} and ${toHex(platform!.pceId)}`,
      );
    }
    info = value;
    return ok(`signed by Intel, for FMSPC ${toHex(platform!.fmspc)}, issued ${value.issueDate}`);
  });
  let qeEvaluation: Evaluation | undefined;
  await appraisal.check('dcap.qe-identity', ['dcap.revocation'], async () => {
    const document: SignedDocument<EnclaveIdentity> = readIdentity(
      need(collateral, 'qeIdentity', 'qe-identity.json'),
    );
    const fault = await documentFault(document, collateral, rootList!, time);
    if (fault !== null) return failed(`the QE identity cannot be relied on: ${fault}`);
    const kind = tdx === null ? 'QE' : 'TD_QE';
    if (document.value.id !== kind)
      return failed(`the identity is that of ${document.value.id}, ${kind} is needed`);
    qeEvaluation = evaluateQe(document.value, quote.qe);
    return ok(`the QE report is of Intel's ${kind}, ISVSVN ${quote.qe.isvSvn}: ${qeEvaluation.status}`);
  });
  await appraisal.check('dcap.tcb-status', ['dcap.tcb-info', 'dcap.qe-identity'], () => {
    const { status, advisories } = converge([...evaluatePlatform(info!, platform!, tdx), qeEvaluation!]);
    claims['tcbStatus'] = status;
    claims['advisories'] = [...advisories];
    const list = advisories.length === 0 ? '' : ` (${advisories.join(', ')})`;
    if (status !== 'UpToDate' && !policy.dcap.acceptStatus.includes(status)) {
      return failed(`the TCB status is ${status}${list}, the policy does not accept it (dcap.acceptStatus)`);
    }
    const allowed = policy.dcap.acceptAdvisories;
    const open = advisories.filter((advisory) => !allowed.includes(advisory));
    if (allowed.length > 0 && open.length > 0) {
      return failed(
        `the advisories ${open.join(', ')} apply, the policy accepts ${allowed.join(', ')} (dcap.acceptAdvisories)`,
      );
    }
    return ok(`the TCB status is ${status}${list}`);
  });

  if (quote.body.kind === 'sgx') {
    await runEnclaveChecks(appraisal, quote.body.sgx, policy.dcap, 'dcap', false);
    await runReportDataCheck(appraisal, quote.body.sgx.reportData, request.reportData);
    Object.assign(claims, sgxBodyFields(quote.body.sgx));
    return appraisal.finish();
  }
  const td = quote.body.tdx;
  await appraisal.check('td.mrtd', ['evidence.format'], () => {
    const mrtd = toHex(td.mrTd);
    if (policy.dcap.mrtd.length === 0) return unasked(`the policy pins none (MRTD is ${mrtd})`);
    return policy.dcap.mrtd.includes(mrtd)
      ? ok(`MRTD ${mrtd} is one that the policy names`)
      : failed(`MRTD is ${mrtd}, the policy names ${policy.dcap.mrtd.join(', ')} (dcap.mrtd)`);
  });
  await appraisal.check('td.debug', ['evidence.format'], () => {
    if ((td.tdAttributes[0]! & 1) === 0) return ok('TDATTRIBUTES.DEBUG is clear');
    return policy.dcap.allowDebug
      ? ok('TDATTRIBUTES.DEBUG is set and the policy accepts that (dcap.allowDebug)')
      : failed(
          'TDATTRIBUTES.DEBUG is set: the host can read this TD, and the policy does not accept that (dcap.allowDebug)',
        );
  });
  await runReportDataCheck(appraisal, td.reportData, request.reportData);
  Object.assign(claims, tdxBodyFields(td));
  return appraisal.finish();
}
