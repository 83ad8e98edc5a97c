/** Genuine evidence and collateral of the attest package, as its services would send it. */
import { readFileSync } from 'node:fs';
import { ISSUER_CHAIN_HEADERS } from '../src/index.js';
import type { Services } from './services.js';

export const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../../attest/vectors/${name}`, import.meta.url)));

/** Routes of a PCCS (or, without `rootcacrl`, of Intel's service) for one recorded collateral. */
export function serveIntel(services: Services, file: string, tee: 'sgx' | 'tdx', fmspc: string): void {
  const given = JSON.parse(new TextDecoder().decode(vector(file))) as Record<string, string>;
  const chain = (name: string, field: string) => ({ [name]: encodeURIComponent(given[field]!) });
  const authority = given['pck_crl_issuer_chain'] === undefined ? 'processor' : authorityOf(given);
  const routes = services.routes;
  routes.set(`/sgx/certification/v4/pckcrl?ca=${authority}&encoding=der`, {
    body: Buffer.from(given['pck_crl']!, 'hex'),
    headers: chain(ISSUER_CHAIN_HEADERS.pckCrl, 'pck_crl_issuer_chain'),
  });
  // PCCSs send the list of the root as hexadecimal digits.
  routes.set('/sgx/certification/v4/rootcacrl', { body: given['root_ca_crl']! });
  routes.set(`/${tee}/certification/v4/tcb?fmspc=${fmspc.toUpperCase()}`, {
    body: `{"tcbInfo":${given['tcb_info']!},"signature":"${given['tcb_info_signature']!}"}`,
    headers: chain(ISSUER_CHAIN_HEADERS.tcbInfo, 'tcb_info_issuer_chain'),
  });
  routes.set(`/${tee}/certification/v4/qe/identity`, {
    body: `{"enclaveIdentity":${given['qe_identity']!},"signature":"${given['qe_identity_signature']!}"}`,
    headers: chain(ISSUER_CHAIN_HEADERS.identity, 'qe_identity_issuer_chain'),
  });
}

function authorityOf(given: Record<string, string>): string {
  return Buffer.from(given['pck_crl']!, 'hex').includes('Platform CA') ? 'platform' : 'processor';
}

const tlv = (tag: number, ...parts: Uint8Array[]) => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Uint8Array.of(tag, ...length), body]);
};

/** A revocation list in the name of AMD's root, signed by nobody. */
export function amdList(product: string, thisUpdate: string, nextUpdate: string): Uint8Array {
  const algorithm = tlv(0x30, tlv(0x06, Buffer.from('2a8648ce3d040303', 'hex')));
  const name = tlv(
    0x31,
    tlv(0x30, tlv(0x06, Buffer.from('550403', 'hex')), tlv(0x0c, Buffer.from(`ARK-${product}`))),
  );
  const time = (text: string) => tlv(0x17, Buffer.from(text));
  const list = tlv(
    0x30,
    tlv(0x02, Uint8Array.of(1)),
    algorithm,
    tlv(0x30, name),
    time(thisUpdate),
    time(nextUpdate),
  );
  const signature = tlv(0x30, tlv(0x02, Uint8Array.of(1)), tlv(0x02, Uint8Array.of(1)));
  return new Uint8Array(tlv(0x30, list, algorithm, tlv(0x03, Uint8Array.of(0), signature)));
}
