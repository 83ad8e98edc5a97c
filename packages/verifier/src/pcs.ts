/**
 * Addresses and headers of Intel's Provisioning Certification Service, version 4 ("Intel SGX and Intel TDX services,
 * V4 API"), and of the caches (PCCS) that offer the same paths.
 */
import type { PckAuthority, PckIdentifiers } from '@nestedsgx/attest';
import { VerifierError } from './errors.js';

/** The service as Intel runs it. */
export const PCS_ADDRESS = 'https://api.trustedservices.intel.com';
/** Where Intel publishes the revocation list of its root (PCCSs have a path of their own for it). */
export const INTEL_ROOT_CRL_URL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der';

/** Response headers with the chain that signed the body: PEM, URL-encoded. */
export const ISSUER_CHAIN_HEADERS = Object.freeze({
  pckCrl: 'SGX-PCK-CRL-Issuer-Chain',
  pckCertificate: 'SGX-PCK-Certificate-Issuer-Chain',
  tcbInfo: 'TCB-Info-Issuer-Chain',
  /** The name of version 3, which some caches still use. */
  tcbInfoBefore: 'SGX-TCB-Info-Issuer-Chain',
  identity: 'SGX-Enclave-Identity-Issuer-Chain',
} as const);

/** Header of the subscription key, which Intel's service wants for PCK certificates. */
export const SUBSCRIPTION_KEY_HEADER = 'Ocp-Apim-Subscription-Key';

type Tee = 'sgx' | 'tdx';

/** Which TCB information: in force for all, or the early one that a TCB recovery begins with. */
export type TcbUpdate = 'standard' | 'early';

const path = (address: string, tee: Tee, rest: string) => `${address}/${tee}/certification/v4/${rest}`;
const suffix = (update: TcbUpdate | undefined, mark: string) =>
  update === undefined ? '' : `${mark}update=${update}`;

/**
 * The address of a cache from what configurations of Intel's library hold (`…/sgx/certification/v4/`) or the bare
 * address.
 */
export function withoutApiPath(address: string): string {
  return address.replace(/\/(?:sgx|tdx)\/certification\/v\d+$/, '');
}

/** Revocation list of an authority over PCK certificates. */
export function pckCrlUrl(address: string, authority: PckAuthority): string {
  return path(address, 'sgx', `pckcrl?ca=${authority}&encoding=der`);
}

/** Revocation list of Intel's root: a PCCS's path, or Intel's own place when there is no PCCS. */
export function rootCrlUrl(pccs: string | undefined): string {
  return pccs === undefined ? INTEL_ROOT_CRL_URL : path(pccs, 'sgx', 'rootcacrl');
}

/** TCB info of a platform. @throws VerifierError FETCH_OPTIONS for an FMSPC that is not 6 bytes */
export function tcbInfoUrl(address: string, tee: Tee, fmspc: string, update?: TcbUpdate): string {
  if (!/^[0-9a-f]{12}$/i.test(fmspc))
    throw new VerifierError('FETCH_OPTIONS', `The FMSPC '${fmspc}' is not 6 bytes in hexadecimal.`);
  return path(address, tee, `tcb?fmspc=${fmspc.toUpperCase()}${suffix(update, '&')}`);
}

/** Identity of the quoting enclave of SGX or TDX. */
export function qeIdentityUrl(address: string, tee: Tee, update?: TcbUpdate): string {
  return path(address, tee, `qe/identity${suffix(update, '?')}`);
}

/** One PCK certificate. A PCCS is asked with the QE's id too. */
export function pckCertificateUrl(address: string, ids: PckIdentifiers, pccs: boolean): string {
  const parameters = new URLSearchParams();
  if (pccs) parameters.set('qeid', ids.qeId.toUpperCase());
  parameters.set('encrypted_ppid', (ids.encryptedPpid ?? '').toUpperCase());
  parameters.set('cpusvn', ids.cpuSvn.toUpperCase());
  parameters.set('pcesvn', ids.pceSvn.toUpperCase());
  parameters.set('pceid', ids.pceId.toUpperCase());
  return path(address, 'sgx', `pckcert?${parameters.toString()}`);
}
