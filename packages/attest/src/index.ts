/**
 * Verification and policy of attestation evidence, offline, in Node and in the browser.
 * @module
 */
export {
  type Check,
  type Claims,
  type ClaimValue,
  formatVerdict,
  type Verdict,
} from './appraisal.js';
export {
  CERTIFICATE_CHECKS,
  type CertificateEvidence,
  certificateEvidence,
  EVIDENCE_EXTENSION,
  looksLikeCertificate,
  verifyCertificate,
} from './certificate-evidence.js';
export { type Collateral, collateralFromFiles } from './collateral.js';
export {
  type CryptoProvider,
  type Curve,
  type EcKey,
  type HashName,
  type RsaKey,
  useCrypto,
} from './crypto/provider.js';
export { DCAP_SGX_CHECKS, DCAP_TDX_CHECKS } from './dcap/appraise.js';
export { type DcapQuote, parseDcapQuote } from './dcap/quote.js';
export { type DecodedEvidence, decodeEvidence } from './decode.js';
export { ATTEST_ERRORS, AttestError, type AttestErrorCode } from './errors.js';
export {
  type CollateralNeeds,
  collateralNeeds,
  type DcapNeeds,
  leafProductLine,
  type PckAuthority,
  type PckIdentifiers,
  pckOrigin,
  type SnpNeeds,
} from './needs.js';
export {
  isolationOf,
  KEY_BINDING_LABEL,
  keyBinding,
  NESTED_CHECKS,
  SOFTWARE_FAMILY_ID,
} from './nested/appraise.js';
export { NESTED_CERTIFICATION_TYPE, type NestedQuote, parseNestedQuote } from './nested/quote.js';
export {
  DCAP_STATUSES,
  ISOLATIONS,
  type Isolation,
  type Policy,
  type PolicyDocument,
  parsePolicy,
  parsePolicyText,
} from './policy/index.js';
export { repeatedMember } from './policy/repeated.js';
export { PreparedCollateral, prepareCollateral } from './prepared.js';
export type { VerifyOptions } from './request.js';
export { RAW_SNP_CHECKS } from './snp/appraise.js';
export { type CertificateTable, parseCertificateTable } from './snp/certificate-table.js';
export { readSnpEvidence, type SnpEvidence } from './snp/evidence.js';
export { snpChain } from './snp/given-certificates.js';
export type { GuestPolicy, PlatformInfo } from './snp/guest-fields.js';
export { snpKeyDigest } from './snp/key-digest.js';
export { parseSnpLeaf, type SnpLeaf } from './snp/leaf.js';
export { type FirmwareVersion, parseSnpReport, SNP_REPORT_BYTES, type SnpReport } from './snp/report.js';
export { SNP_PRODUCTS, type SnpProduct, type SnpTcb } from './snp/tcb.js';
export { type EvidenceFormat, evidenceFormat, MAX_EVIDENCE_BYTES, verify } from './verify.js';
export { type Certificate, parseCertificate } from './x509/certificate.js';
export { parseRevocationList, type RevocationList } from './x509/crl.js';
export { readCertificates } from './x509/pem.js';
export { forgetSignatures } from './x509/remembered.js';
