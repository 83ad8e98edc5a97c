/** Recorded collateral of Intel's, as the files of a collateral directory. */
import { readFileSync } from 'node:fs';
import { type Collateral, collateralFromFiles } from '../src/index.js';

/** The files that belong to the vector `name`. */
export function dcapCollateralFiles(name: string): [name: string, bytes: Uint8Array][] {
  const path = new URL(`../../vectors/dcap/${name}_collateral.json`, import.meta.url);
  const given = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
  const text = (value: string) => new TextEncoder().encode(value);
  const signed = (member: string, body: string, signature: string) =>
    text(`{"${member}":${given[body]!},"signature":"${given[signature]!}"}`);
  return [
    ['root-crl.der', new Uint8Array(Buffer.from(given['root_ca_crl']!, 'hex'))],
    ['pck-crl.der', new Uint8Array(Buffer.from(given['pck_crl']!, 'hex'))],
    ['tcb-signing.pem', text(given['tcb_info_issuer_chain']!)],
    ['tcb-info.json', signed('tcbInfo', 'tcb_info', 'tcb_info_signature')],
    ['qe-identity.json', signed('enclaveIdentity', 'qe_identity', 'qe_identity_signature')],
  ];
}

/** The same, sorted into roles. */
export function dcapCollateral(name: string): Collateral {
  return collateralFromFiles(dcapCollateralFiles(name));
}
