/** Genuine evidence with collateral for the benchmark: the vectors beside the package `attest`, in this repository. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Collateral, collateralFromFiles, type PolicyDocument, parseSnpReport } from '@nestedsgx/attest';

/** One piece of evidence and what it is accepted with. */
export interface Sample {
  readonly name: string;
  readonly evidence: Uint8Array;
  readonly collateral: Collateral;
  readonly policy: PolicyDocument;
  readonly time: string;
  /** The same collateral as `@phala/dcap-qvl` takes it; null for evidence that it does not verify. */
  readonly peerCollateral: unknown;
}

const DCAP_TIME = '2025-07-01T00:00:00Z';
const SNP_TIME = '2024-06-01T00:00:00Z';
const encode = (text: string) => new TextEncoder().encode(text);

/** Dcap-qvl's samples keep a platform's collateral in one JSON document. */
function readCollateral(file: Uint8Array): { given: Collateral; peer: unknown } {
  const peer = JSON.parse(new TextDecoder().decode(file)) as Record<string, string>;
  const text = (name: string): string => peer[name] ?? '';
  const document = (member: string, name: string) =>
    encode(`{"${member}":${text(name)},"signature":"${text(`${name}_signature`)}"}`);
  const given = collateralFromFiles([
    ['root-crl.der', new Uint8Array(Buffer.from(text('root_ca_crl'), 'hex'))],
    ['pck-crl.der', new Uint8Array(Buffer.from(text('pck_crl'), 'hex'))],
    ['tcb-signing.pem', encode(text('tcb_info_issuer_chain'))],
    ['tcb-info.json', document('tcbInfo', 'tcb_info')],
    ['qe-identity.json', document('enclaveIdentity', 'qe_identity')],
  ]);
  return { given, peer };
}

/** The samples, or null when this is an installation without vectors. */
export function samples(): Sample[] | null {
  const folder = fileURLToPath(new URL('../../vectors/', import.meta.resolve('@nestedsgx/attest')));
  if (!existsSync(folder)) return null;
  const read = (name: string) => new Uint8Array(readFileSync(folder + name));
  const dcap = (['sgx', 'tdx'] as const).map((kind): Sample => {
    const { given, peer } = readCollateral(read(`dcap/${kind}_quote_collateral.json`));
    const acceptStatus = ['ConfigurationAndSWHardeningNeeded' as const];
    return {
      name: `attest dcap ${kind}`,
      evidence: read(`dcap/${kind}_quote`),
      collateral: given,
      policy: { version: 1, dcap: { acceptStatus, allowAnyMeasurement: true } },
      time: DCAP_TIME,
      peerCollateral: peer,
    };
  });
  const report = read('snp/milan-v2.report.bin');
  const launchDigest = [Buffer.from(parseSnpReport(report).measurement).toString('hex')];
  const snp: Sample = {
    name: 'attest snp milan',
    evidence: report,
    collateral: { vcek: read('snp/milan-v2.vcek.der') },
    policy: { version: 1, snp: { launchDigest } },
    time: SNP_TIME,
    peerCollateral: null,
  };
  return [...dcap, snp];
}
