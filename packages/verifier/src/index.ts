/**
 * Fetches the collateral of attestation evidence from AMD's KDS and Intel's PCS or a PCCS, and keeps it in a
 * directory. Node only. Verifying is `@nestedsgx/attest`, which needs no network.
 * @module
 */
export {
  type CollateralFiles,
  MAX_FILE_BYTES,
  readCollateralDirectory,
  writeCollateralDirectory,
} from './cache.js';
export { VERIFIER_ERRORS, VerifierError, type VerifierErrorCode } from './errors.js';
export { type FetchOptions, fetchCollateral } from './fetch.js';
export type { Fetched, FetchResult, Missing } from './gathering.js';
export { type HttpOptions, retryAfter } from './http.js';
export { amdCrlUrl, certChainUrl, type EndorsementKey, KDS_ADDRESS, vcekUrl } from './kds.js';
export {
  INTEL_ROOT_CRL_URL,
  ISSUER_CHAIN_HEADERS,
  PCS_ADDRESS,
  pckCertificateUrl,
  pckCrlUrl,
  qeIdentityUrl,
  rootCrlUrl,
  type TcbUpdate,
  tcbInfoUrl,
} from './pcs.js';
