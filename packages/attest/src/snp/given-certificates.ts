/** Certificates for a report from what is at hand: the caller's collateral, the host's table, AMD's own. */
import type { Collateral } from '../collateral.js';
import { AttestError } from '../errors.js';
import { derBlocks } from '../x509/pem.js';
import { type CertificateTable, parseCertificateTable } from './certificate-table.js';
import { orderedChain } from './endorsement.js';
import type { SnpReport } from './report.js';

/**
 * The tables that come with a report, the caller's before the one in the evidence.
 * @throws AttestError for one that lies
 */
export function givenTable(collateral: Collateral, brought: CertificateTable): CertificateTable {
  return collateral.auxblob === undefined
    ? brought
    : { ...brought, ...parseCertificateTable(collateral.auxblob) };
}

/**
 * The leaf and then the authorities; empty without a leaf. What the caller gives as collateral goes before what
 * the evidence brings along.
 * @throws AttestError for unreadable files
 */
export function givenCertificates(
  collateral: Collateral,
  table: CertificateTable,
  leafRole: 'vcek' | 'vlek',
): Uint8Array[] {
  const blocks = (role: 'ark' | 'ask' | 'vcek' | 'vlek'): Uint8Array[] => {
    const own = collateral[role];
    if (own !== undefined) return derBlocks(own, 'CERTIFICATE', `The collateral '${role}'`);
    const brought = table[role];
    return brought === undefined ? [] : derBlocks(brought, 'CERTIFICATE', `The '${role}' in the evidence`);
  };
  const leaf = blocks(leafRole)[0];
  return leaf === undefined ? [] : [leaf, ...blocks('ask'), ...blocks('ark')];
}

/**
 * Leaf, authority and root for a report, DER, as this system's evidence carries them. Verifies nothing.
 * @throws AttestError when the leaf is missing, or no authority leads to a root
 */
export function snpChain(
  report: SnpReport,
  table: CertificateTable,
  collateral: Collateral = {},
): Uint8Array[] {
  const role = report.signingKey === 'VLEK' ? 'vlek' : 'vcek';
  const certificates = givenCertificates(collateral, givenTable(collateral, table), role);
  if (certificates.length === 0)
    throw new AttestError('COLLATERAL_MALFORMED', `There is no ${role.toUpperCase()} for the report.`, {
      advice: `The host gave none; fetch it from AMD's key service and put it into the collateral as ${role}.der.`,
    });
  return orderedChain(certificates, false).chain.map((certificate) => certificate.der);
}
