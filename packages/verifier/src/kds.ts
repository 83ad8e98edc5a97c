/** Addresses of AMD's Key Distribution Service (AMD 57230, "VCEK Certificate and KDS Interface Specification"). */
import type { SnpProduct, SnpTcb } from '@nestedsgx/attest';
import { VerifierError } from './errors.js';

/** The service as AMD runs it. */
export const KDS_ADDRESS = 'https://kdsintf.amd.com';

/** Which key's certificates are asked for. */
export type EndorsementKey = 'VCEK' | 'VLEK';

const CHIP_ID_BYTES: Readonly<Record<SnpProduct, number>> = { Milan: 64, Genoa: 64, Turin: 8 };

function base(address: string, key: EndorsementKey, product: SnpProduct): string {
  return `${address}/${key.toLowerCase()}/v1/${product}`;
}

/** Patch levels as the service takes them; the FMC exists on Turin only. */
function levels(product: SnpProduct, tcb: SnpTcb): string {
  const named: [name: string, level: number | null][] = [
    ['blSPL', tcb.bootloader],
    ['teeSPL', tcb.tee],
    ['snpSPL', tcb.snp],
    ['ucodeSPL', tcb.microcode],
  ];
  if (product === 'Turin') named.unshift(['fmcSPL', tcb.fmc]);
  return named
    .map(([name, level]) => {
      if (level === null || !Number.isInteger(level) || level < 0 || level > 255)
        throw new VerifierError('FETCH_OPTIONS', `The TCB has no ${name} for ${product} (${String(level)}).`);
      return `${name}=${String(level).padStart(2, '0')}`;
    })
    .join('&');
}

/**
 * A chip's VCEK for one TCB (DER).
 * @param chipId hexadecimal, 64 bytes, or 8 on Turin
 * @throws VerifierError FETCH_OPTIONS when chip id or TCB are not the product's
 */
export function vcekUrl(address: string, product: SnpProduct, chipId: string, tcb: SnpTcb): string {
  const bytes = CHIP_ID_BYTES[product];
  if (!new RegExp(`^[0-9a-f]{${2 * bytes}}$`).test(chipId)) {
    throw new VerifierError(
      'FETCH_OPTIONS',
      `The chip id '${chipId}' is not the ${bytes} bytes that ${product} has.`,
    );
  }
  return `${base(address, 'VCEK', product)}/${chipId}?${levels(product, tcb)}`;
}

/** ASK and ARK (for a VLEK: ASVK and ARK), PEM in that order. */
export function certChainUrl(address: string, key: EndorsementKey, product: SnpProduct): string {
  return `${base(address, key, product)}/cert_chain`;
}

/** The revocation list of the ARK (DER). */
export function amdCrlUrl(address: string, key: EndorsementKey, product: SnpProduct): string {
  return `${base(address, key, product)}/crl`;
}
