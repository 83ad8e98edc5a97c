/**
 * Appraisal of DCAP quotes: quote → attestation key → QE report → PCK → Intel's root, and the TCB status that
 * Intel's signed documents give the platform. Offline: documents and lists come from the collateral.
 */
import { Appraisal, failed, ok, unasked, type Verdict } from '../appraisal.js';
import { allZero, concatBytes, sameBytes, toHex } from '../bytes.js';
import { ENCLAVE_CHECKS, runEnclaveChecks, runReportDataCheck } from '../quote/identity-checks.js';
import { sgxBodyFields } from '../quote/sgx-body.js';
import type { Request } from '../request.js';
import { certificateLabel, chainValidityFault, timeText } from '../x509/chain.js';
import { revocationTimeFault } from '../x509/crl.js';
import { digest, p256Key, verifyEcdsa } from '../x509/keys.js';
import { verifyAuthorityP256 } from '../x509/remembered.js';
import type { DocumentHead, EnclaveIdentity, SvnLevel, TcbInfo } from './documents.js';
import { type PckPlatform, pckFields } from './pck.js';
import { type DcapQuote, parseDcapQuote } from './quote.js';
import { checkTdxModule, type Evaluation, evaluateQe, evaluateTcb } from './tcb-status.js';
import { tdxBodyFields } from './td-body.js';
import { runTdChecks, TD_CHECKS } from './td-checks.js';
import type { IntelTrust, Pck } from './trust.js';

const COMMON = [
  'evidence.format',
  'quote.signature',
  'dcap.qe-binding',
  'dcap.pck-chain',
  'dcap.qe-signature',
  'dcap.revocation',
  'dcap.tcb-info',
  'dcap.qe-identity',
];
const RATED = ['dcap.tcb-status', 'dcap.tcb-evaluation', 'dcap.platform'];

/** All checks of an SGX quote, in order. */
export const DCAP_SGX_CHECKS: readonly string[] = Object.freeze([
  ...COMMON,
  ...RATED,
  ...ENCLAVE_CHECKS,
  'report-data',
]);
/** All checks of a TDX quote, in order. */
export const DCAP_TDX_CHECKS: readonly string[] = Object.freeze([
  ...COMMON,
  'dcap.tdx-module',
  ...RATED,
  ...TD_CHECKS,
  'report-data',
]);

/** Why a document must not be used at `time`, or null. */
function documentTimeFault(head: DocumentHead, trust: IntelTrust, time: number): string | null {
  const signer = chainValidityFault(trust.signer(), time);
  if (signer !== null) return signer;
  const [leaf] = trust.signer();
  if (trust.rootList().serials.has(leaf.serial)) return `${certificateLabel(leaf)} is revoked`;
  const { issueDate, nextUpdate } = head;
  if (time < issueDate)
    return `it was issued at ${timeText(issueDate)}, after the time of verification ${timeText(time)}`;
  if (time > nextUpdate)
    return `it was to be replaced at ${timeText(nextUpdate)}, before the time of verification ${timeText(time)}`;
  return null;
}

function revocation({ chain }: Pck, trust: IntelTrust, time: number) {
  const [leaf, authority] = chain;
  const lists = [trust.rootList(), trust.pckList(authority!)] as const;
  for (const list of lists) {
    const fault = revocationTimeFault(list, time);
    if (fault !== null) return failed(fault);
  }
  const [root, pck] = lists;
  const revoked = root.serials.has(authority!.serial)
    ? authority!
    : pck.serials.has(leaf.serial)
      ? leaf
      : undefined;
  if (revoked !== undefined)
    return failed(`${certificateLabel(revoked)}, serial ${revoked.serial}, is revoked`);
  return ok(
    `neither PCK nor its authority is on Intel's lists of ${timeText(pck.thisUpdate)} and ${timeText(root.thisUpdate)}`,
  );
}

function infoFault(info: TcbInfo, kind: TcbInfo['id'], platform: PckPlatform): string | null {
  if (info.id !== kind) return `the TCB info is for ${info.id}, the quote is of ${kind}`;
  if (sameBytes(info.fmspc, platform.fmspc) && sameBytes(info.pceId, platform.pceId)) return null;
  return `the TCB info is for FMSPC ${toHex(info.fmspc)} and PCE ${toHex(info.pceId)}, the PCK for ${toHex(platform.fmspc)} and ${toHex(platform.pceId)}`;
}

type DcapPolicy = Request['policy']['dcap'];

function statusOutcome({ status, advisories }: Evaluation, policy: DcapPolicy) {
  const list = advisories.length === 0 ? '' : ` (${advisories.join(', ')})`;
  if (status !== 'UpToDate' && !policy.acceptStatus.includes(status)) {
    return failed(`the TCB status is ${status}${list}, the policy does not accept it (dcap.acceptStatus)`);
  }
  const allowed = policy.acceptAdvisories;
  const open = advisories.filter((advisory) => !allowed.includes(advisory));
  if (allowed.length > 0 && open.length > 0) {
    return failed(
      `the advisories ${open.join(', ')} apply, the policy accepts ${allowed.join(', ')} (dcap.acceptAdvisories)`,
    );
  }
  return ok(`the TCB status is ${status}${list}`);
}

function evaluationOutcome(heads: readonly DocumentHead[], least: number | undefined) {
  const number = Math.min(...heads.map((head) => head.evaluationNumber));
  if (least === undefined)
    return unasked(`the policy names no minimum (TCB evaluation data number ${number})`);
  return number >= least
    ? ok(`TCB evaluation data number ${number} is at or above ${least}`)
    : failed(
        `the TCB evaluation data number is ${number}, the policy wants ${least} or more (dcap.minTcbEvaluationNumber)`,
      );
}

function platformOutcome({ configuration }: PckPlatform, policy: DcapPolicy) {
  const rules = [
    [policy.refuseDynamicPlatform, configuration.dynamicPlatform, 'is dynamic', 'refuseDynamicPlatform'],
    [policy.refuseCachedKeys, configuration.cachedKeys, 'has keys cached by Intel', 'refuseCachedKeys'],
    [policy.refuseSmt, configuration.smtEnabled, 'has SMT enabled', 'refuseSmt'],
  ] as const;
  for (const [refused, flag, what, field] of rules) {
    if (refused && flag !== false) {
      const says = flag ? `says that the platform ${what}` : `does not say whether the platform ${what}`;
      return failed(`the PCK ${says}, which the policy refuses (dcap.${field})`);
    }
  }
  return rules.some(([refused]) => refused)
    ? ok('the platform is set up as the policy wants')
    : unasked('the policy refuses no platform configuration');
}

/** The checks up to the QE report's signature. Returns the PCK when its chain holds. */
async function checkKeys(appraisal: Appraisal, quote: DcapQuote, request: Request): Promise<Pck | undefined> {
  const { time } = request;
  const trust = request.prepared.intel;
  await appraisal.check('quote.signature', ['evidence.format'], () =>
    verifyEcdsa(p256Key(quote.attestationKey), 'SHA-256', quote.signature, quote.signed)
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
  let pck: Pck | undefined;
  await appraisal.check('dcap.pck-chain', ['evidence.format'], () => {
    const found = trust.pck(quote);
    const fault = chainValidityFault(found.chain, time);
    if (fault !== null) return failed(fault);
    pck = found;
    appraisal.claims['fmspc'] = toHex(found.platform.fmspc);
    appraisal.claims['pck'] = pckFields(found.platform);
    const names = found.chain.map((certificate) => certificate.subject.commonName).join(' ← ');
    return ok(`${names}, Intel's root, valid at ${timeText(time)}`);
  });
  await appraisal.check('dcap.qe-signature', ['dcap.pck-chain'], () =>
    verifyAuthorityP256(pck!.chain[0].publicKey, quote.qeSignature, quote.qeReport)
      ? ok('the QE report is signed by the PCK')
      : failed('the ECDSA P-256 signature over the QE report does not verify under the PCK'),
  );
  return pck;
}

/** The checks of the platform, by Intel's lists and documents. */
async function checkPlatform(
  appraisal: Appraisal,
  quote: DcapQuote,
  pck: Pck | undefined,
  request: Request,
): Promise<void> {
  const { policy, time } = request;
  const { claims } = appraisal;
  const trust = request.prepared.intel;
  const tdx = quote.body.kind === 'tdx' ? quote.body.tdx : null;
  await appraisal.check('dcap.revocation', ['dcap.pck-chain'], () => revocation(pck!, trust, time));
  let info: TcbInfo | undefined;
  await appraisal.check('dcap.tcb-info', ['dcap.revocation'], () => {
    const value = trust.tcbInfo();
    const fault = documentTimeFault(value, trust, time);
    if (fault !== null) return failed(`the TCB info cannot be relied on: ${fault}`);
    const mismatch = infoFault(value, tdx === null ? 'SGX' : 'TDX', pck!.platform);
    if (mismatch !== null) return failed(mismatch);
    info = value;
    return ok(`signed by Intel, for FMSPC ${toHex(value.fmspc)}, issued ${timeText(value.issueDate)}`);
  });
  let identity: EnclaveIdentity | undefined;
  let qe: SvnLevel | undefined;
  await appraisal.check('dcap.qe-identity', ['dcap.revocation'], () => {
    const value = trust.identity();
    const fault = documentTimeFault(value, trust, time);
    if (fault !== null) return failed(`the QE identity cannot be relied on: ${fault}`);
    const kind = tdx === null ? 'QE' : 'TD_QE';
    if (value.id !== kind) return failed(`the identity is that of ${value.id}, ${kind} is needed`);
    qe = evaluateQe(value, quote.qe);
    identity = value;
    return ok(`the QE report is of Intel's ${kind}, ISVSVN ${quote.qe.isvSvn}: ${qe.status}`);
  });
  const rated = ['dcap.tcb-info', 'dcap.qe-identity'];
  if (tdx !== null) {
    await appraisal.check('dcap.tdx-module', ['dcap.tcb-info'], () =>
      ok(`signer and attributes are those of Intel's TDX module ${checkTdxModule(info!, tdx)}`),
    );
    rated.push('dcap.tdx-module');
  }
  await appraisal.check('dcap.tcb-status', rated, () => {
    const evaluation = evaluateTcb(info!, pck!.platform, qe!, tdx);
    claims['tcbStatus'] = evaluation.status;
    claims['advisories'] = [...evaluation.advisories];
    claims['tcbDate'] = timeText(evaluation.date);
    return statusOutcome(evaluation, policy.dcap);
  });
  await appraisal.check('dcap.tcb-evaluation', rated, () => {
    const heads = [info!, identity!];
    claims['tcbEvaluationNumber'] = Math.min(...heads.map((head) => head.evaluationNumber));
    return evaluationOutcome(heads, policy.dcap.minTcbEvaluationNumber);
  });
  await appraisal.check('dcap.platform', ['dcap.pck-chain'], () =>
    platformOutcome(pck!.platform, policy.dcap),
  );
}

/** Appraises a DCAP quote. */
export async function appraiseDcap(input: Uint8Array, request: Request): Promise<Verdict> {
  let quote: DcapQuote;
  try {
    quote = parseDcapQuote(input);
  } catch (error) {
    const unreadable = new Appraisal(DCAP_SGX_CHECKS);
    unreadable.claims['format'] = 'quote';
    await unreadable.check('evidence.format', [], () => {
      throw error;
    });
    return unreadable.finish();
  }
  const { header, body } = quote;
  const appraisal = new Appraisal(body.kind === 'tdx' ? DCAP_TDX_CHECKS : DCAP_SGX_CHECKS);
  const { claims } = appraisal;
  Object.assign(claims, { format: 'quote', tee: body.kind, tcbStatus: null });
  await appraisal.check('evidence.format', [], () =>
    ok(`${body.kind.toUpperCase()} quote version ${header.version}, ${input.length} bytes`),
  );
  const pck = await checkKeys(appraisal, quote, request);
  await checkPlatform(appraisal, quote, pck, request);
  const pins = request.policy.dcap;
  if (body.kind === 'sgx') {
    await runEnclaveChecks(appraisal, body.sgx, pins, 'dcap', !pins.allowAnyMeasurement);
    await runReportDataCheck(appraisal, body.sgx.reportData, request.reportData);
    Object.assign(claims, sgxBodyFields(body.sgx));
  } else {
    await runTdChecks(appraisal, body.tdx, pins);
    await runReportDataCheck(appraisal, body.tdx.reportData, request.reportData);
    Object.assign(claims, tdxBodyFields(body.tdx));
  }
  return appraisal.finish();
}
