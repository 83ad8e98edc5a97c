/** What evidence leaves to be fetched: the identifiers that AMD's and Intel's services are asked with. */
import { toHex } from './bytes.js';
import { parsePckPlatform } from './dcap/pck.js';
import { type DcapQuote, parseDcapQuote } from './dcap/quote.js';
import { AttestError } from './errors.js';
import { parseNestedQuote } from './nested/quote.js';
import { readSnpEvidence } from './snp/evidence.js';
import { parseSnpLeaf } from './snp/leaf.js';
import type { SnpReport } from './snp/report.js';
import { SNP_PRODUCTS, type SnpProduct, type SnpTcb } from './snp/tcb.js';
import { evidenceFormat, takeEvidence } from './verify.js';
import type { Certificate } from './x509/certificate.js';
import { readCertificates } from './x509/pem.js';

/** What an SNP report says of the certificate over its key. */
export interface SnpNeeds {
  readonly kind: 'snp';
  readonly signingKey: 'VCEK' | 'VLEK' | 'none';
  /** The product line by the report or the leaf with it; null when neither tells (a report of version 2, software). */
  readonly product: SnpProduct | null;
  /** The chip id as the key service takes it, hexadecimal (64 bytes, 8 on Turin); null when it is masked. */
  readonly chipId: string | null;
  /** The TCB that the certificate is for. */
  readonly tcb: SnpTcb;
  /** True when the evidence carries the leaf. */
  readonly hasLeaf: boolean;
}

/** The authority over PCK certificates, as Intel's service names it. */
export type PckAuthority = 'processor' | 'platform';

/** What a DCAP quote says of the platform whose documents are needed. */
export interface DcapNeeds {
  readonly kind: 'dcap';
  readonly tee: 'sgx' | 'tdx';
  /** From the PCK certificate in the quote; null when there is none. */
  readonly platform: { readonly fmspc: string; readonly authority: PckAuthority } | null;
  /** True when the quote carries the PCK's authority too. */
  readonly hasChain: boolean;
  /** What the PCK certificate is asked for with, where the quote has these instead of it; hexadecimal. */
  readonly identifiers: PckIdentifiers | null;
}

/** Parameters of a request for a PCK certificate, in the encoding of Intel's service. */
export interface PckIdentifiers {
  /** Encrypted PPID; null when the quote holds it in plain, which the service does not take. */
  readonly encryptedPpid: string | null;
  readonly cpuSvn: string;
  readonly pceSvn: string;
  readonly pceId: string;
  readonly qeId: string;
}

/** What there is to fetch for some evidence. */
export type CollateralNeeds = SnpNeeds | DcapNeeds;

const TURIN_CHIP_ID_BYTES = 8;

/** The product line that a VCEK or VLEK is for, or null when the certificate names none that is known. */
export function leafProductLine(leaf: Uint8Array): SnpProduct | null {
  try {
    const [certificate] = readCertificates(leaf, 'The leaf');
    const [line] = parseSnpLeaf(certificate!).productName.split('-');
    return SNP_PRODUCTS.find((product) => product === line) ?? null;
  } catch (error) {
    if (error instanceof AttestError) return null;
    throw error;
  }
}

function snpNeeds(report: SnpReport, leaf: Uint8Array | undefined): SnpNeeds {
  const { signingKey } = report;
  const product = report.product ?? (leaf === undefined ? null : leafProductLine(leaf));
  const id = product === 'Turin' ? report.chipId.subarray(0, TURIN_CHIP_ID_BYTES) : report.chipId;
  const masked = report.chipId.every((byte) => byte === 0);
  return {
    kind: 'snp',
    signingKey,
    product,
    chipId: masked ? null : toHex(id),
    tcb: report.reportedTcb,
    hasLeaf: leaf !== undefined,
  };
}

/** FMSPC and authority of a PCK certificate. @throws AttestError CERTIFICATE_MALFORMED */
export function pckOrigin(pck: Certificate): { fmspc: string; authority: PckAuthority } {
  return {
    fmspc: toHex(parsePckPlatform(pck).fmspc),
    authority: pck.issuer.commonName.includes('Platform') ? 'platform' : 'processor',
  };
}

const PCK_NAME = 'Intel SGX PCK Certificate';

function dcapNeeds(quote: DcapQuote): DcapNeeds {
  const { certification, header } = quote;
  const tee = quote.body.kind;
  if (certification.kind === 'pck-leaf' || certification.kind === 'pck-chain') {
    const certificates = readCertificates(certification.data, 'The PCK chain');
    const pck = certificates.find((certificate) => certificate.subject.commonName === PCK_NAME);
    if (pck === undefined) throw new AttestError('EVIDENCE_MALFORMED', `The quote carries no '${PCK_NAME}'.`);
    return {
      kind: 'dcap',
      tee,
      platform: pckOrigin(pck),
      hasChain: certificates.length > 1,
      identifiers: null,
    };
  }
  if (certification.kind !== 'ppid')
    return { kind: 'dcap', tee, platform: null, hasChain: false, identifiers: null };
  const { ppid, encryption, cpuSvn, pceSvn, pceId } = certification;
  const identifiers = {
    encryptedPpid: encryption === 'none' ? null : toHex(ppid),
    cpuSvn: toHex(cpuSvn),
    pceSvn: toHex(Uint8Array.of(pceSvn & 0xff, pceSvn >> 8)),
    pceId: toHex(pceId ?? new Uint8Array(2)),
    qeId: toHex(header.userData.subarray(0, 16)),
  };
  return { kind: 'dcap', tee, platform: null, hasChain: false, identifiers };
}

/**
 * Tells what to fetch for `evidence`. Verifies nothing: what a forged report names may be fetched in vain.
 * @throws AttestError EVIDENCE_MALFORMED, EVIDENCE_TOO_LARGE, CERTIFICATE_MALFORMED
 */
export function collateralNeeds(evidence: Uint8Array): CollateralNeeds {
  const bytes = takeEvidence(evidence);
  const format = evidenceFormat(bytes);
  if (format === 'evidence') {
    const { snpReport, certificates } = parseNestedQuote(bytes);
    return snpNeeds(snpReport, certificates[0]);
  }
  if (format === 'snp-report') {
    const { report, certificates } = readSnpEvidence(bytes);
    const leaf = report.signingKey === 'VLEK' ? certificates.vlek : certificates.vcek;
    return snpNeeds(report, leaf);
  }
  if (format === 'quote') return dcapNeeds(parseDcapQuote(bytes));
  throw new AttestError('EVIDENCE_MALFORMED', `The ${bytes.length} bytes are no quote and no SNP report.`, {
    advice: "Give this system's evidence, an SNP report or a DCAP quote.",
  });
}
