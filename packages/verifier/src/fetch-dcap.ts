/** Fetches from Intel, or a PCCS, what a DCAP quote needs: revocation lists, TCB info, QE identity, at times the PCK. */
import { type DcapNeeds, type PckAuthority, pckOrigin } from '@nestedsgx/attest';
import { certificatesOf, chainHeader, documentOf, pemFile, revocationListOf } from './content.js';
import { VerifierError } from './errors.js';
import { chainServes, documentServes, listServes } from './freshness.js';
import type { Gathering } from './gathering.js';
import {
  ISSUER_CHAIN_HEADERS,
  pckCertificateUrl,
  pckCrlUrl,
  qeIdentityUrl,
  rootCrlUrl,
  SUBSCRIPTION_KEY_HEADER,
  type TcbUpdate,
  tcbInfoUrl,
} from './pcs.js';

const CERTIFICATE_BYTES = 32 * 1024;
const DOCUMENT_BYTES = 1024 * 1024;
const CRL_BYTES = 4 * 1024 * 1024;

/** Options that bear on Intel's service. */
export interface DcapFetchOptions {
  /** Intel's service or the PCCS. */
  readonly address: string;
  /** True when `address` is a PCCS. */
  readonly pccs: boolean;
  readonly rootCrlUrl: string | undefined;
  readonly subscriptionKey: string | undefined;
  readonly tcbUpdate: TcbUpdate | undefined;
  readonly time: number;
}

interface Platform {
  readonly fmspc: string;
  readonly authority: PckAuthority;
}

/** The PCK of a quote that has only identifiers. */
async function fetchPck(
  ids: NonNullable<DcapNeeds['identifiers']>,
  options: DcapFetchOptions,
  gathering: Gathering,
): Promise<Platform> {
  const url = pckCertificateUrl(options.address, ids, options.pccs);
  const key = options.subscriptionKey;
  const answer = await gathering.ask(
    url,
    CERTIFICATE_BYTES,
    key === undefined ? undefined : { [SUBSCRIPTION_KEY_HEADER]: key },
  );
  const [pck] = certificatesOf(answer.url, answer.body, 1);
  const chain = chainHeader(answer, ISSUER_CHAIN_HEADERS.pckCertificate);
  gathering.put('pck.pem', pemFile([pck!, ...certificatesOf(answer.url, chain, 1)]), answer.url);
  return pckOrigin(pck!);
}

async function fetchLists(
  { authority }: Platform,
  needs: DcapNeeds,
  options: DcapFetchOptions,
  gathering: Gathering,
): Promise<void> {
  const { time } = options;
  const name = authority === 'platform' ? 'Platform CA' : 'Processor CA';
  // A quote with the PCK alone gets its authority from the header beside the list.
  const needsAuthority = needs.platform !== null && !needs.hasChain;
  const authorityServes = !needsAuthority || gathering.keeps('pck.pem', (pem) => chainServes(pem, time));
  if (!authorityServes || !gathering.keeps('pck-crl.der', (der) => listServes(der, name, time))) {
    const answer = await gathering.ask(pckCrlUrl(options.address, authority), CRL_BYTES);
    gathering.put('pck-crl.der', revocationListOf(answer), answer.url);
    if (needsAuthority) {
      const chain = chainHeader(answer, ISSUER_CHAIN_HEADERS.pckCrl);
      gathering.put('pck.pem', pemFile(certificatesOf(answer.url, chain, 1)), answer.url);
    }
  }
  if (!gathering.keeps('root-crl.der', (der) => listServes(der, 'Intel SGX Root CA', time))) {
    const url = options.rootCrlUrl ?? rootCrlUrl(options.pccs ? options.address : undefined);
    const answer = await gathering.ask(url, CRL_BYTES);
    gathering.put('root-crl.der', revocationListOf(answer), answer.url);
  }
}

async function fetchDocuments(
  { fmspc }: Platform,
  tee: 'sgx' | 'tdx',
  options: DcapFetchOptions,
  gathering: Gathering,
): Promise<void> {
  const { address, time, tcbUpdate } = options;
  const names = ['tcb-info.json', 'qe-identity.json', 'tcb-signing.pem'];
  const [info, identity, signing] = names.map((name) => gathering.files.get(name));
  // The three belong together: the chain is that of both documents.
  if (
    info !== undefined &&
    identity !== undefined &&
    signing !== undefined &&
    documentServes(info, 'tcbInfo', { fmspc, id: tee }, time) &&
    documentServes(identity, 'enclaveIdentity', { id: tee === 'sgx' ? 'QE' : 'TD_QE' }, time) &&
    chainServes(signing, time)
  ) {
    gathering.kept.push(...names);
    return;
  }
  const tcb = await gathering.ask(tcbInfoUrl(address, tee, fmspc, tcbUpdate), DOCUMENT_BYTES);
  const qe = await gathering.ask(qeIdentityUrl(address, tee, tcbUpdate), DOCUMENT_BYTES);
  const { tcbInfo, tcbInfoBefore } = ISSUER_CHAIN_HEADERS;
  const older = !tcb.headers.has(tcbInfo) && tcb.headers.has(tcbInfoBefore);
  const chain = chainHeader(tcb, older ? tcbInfoBefore : tcbInfo);
  if (!sameChain(qe.url, chain, chainHeader(qe, ISSUER_CHAIN_HEADERS.identity))) {
    throw new VerifierError(
      'FETCH_REFUSED',
      `${tcb.url} and ${qe.url} answer with different signing chains.`,
      {
        advice: 'Fetch again: the service may have been in the middle of a change.',
      },
    );
  }
  gathering.put('tcb-info.json', documentOf(tcb, 'tcbInfo'), tcb.url);
  gathering.put('qe-identity.json', documentOf(qe, 'enclaveIdentity'), qe.url);
  gathering.put('tcb-signing.pem', chain, tcb.url);
}

function sameChain(url: string, a: Uint8Array, b: Uint8Array): boolean {
  const [left, right] = [a, b].map((pem) => Buffer.from(pemFile(certificatesOf(url, pem, 1))));
  return left!.equals(right!);
}

/** Fetches for a quote. @throws VerifierError */
export async function fetchDcap(
  needs: DcapNeeds,
  options: DcapFetchOptions,
  gathering: Gathering,
): Promise<void> {
  const { identifiers } = needs;
  let platform: Platform | null = needs.platform;
  if (platform === null && identifiers !== null) {
    if (identifiers.encryptedPpid === null && !options.pccs)
      gathering.lacks(
        'pck.pem',
        "Intel's service takes encrypted PPIDs only; ask a PCCS that knows the platform",
      );
    else platform = await fetchPck(identifiers, options, gathering);
  } else if (platform === null) gathering.lacks('pck.pem', 'the quote names no PCK certificate');
  if (platform === null) return;
  await fetchLists(platform, needs, options, gathering);
  await fetchDocuments(platform, needs.tee, options, gathering);
}
