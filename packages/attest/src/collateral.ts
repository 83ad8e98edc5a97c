/** What a verifier brings along besides the evidence: certificates, revocation lists, Intel's TCB documents. */

/** Collateral files by role, each PEM or DER as its issuer serves it (a table of GUIDs for `auxblob`, JSON for the last two). All optional. */
export interface Collateral {
  readonly ark?: Uint8Array;
  readonly ask?: Uint8Array;
  readonly vcek?: Uint8Array;
  readonly vlek?: Uint8Array;
  /** The host's certificate table beside a report: auxblob of configfs-tsm, or of an extended guest request. */
  readonly auxblob?: Uint8Array;
  /** AMD's revocation list of the ARK. */
  readonly crl?: Uint8Array;
  readonly rootCa?: Uint8Array;
  readonly rootCrl?: Uint8Array;
  /** Revocation list of the PCK's authority; PEM may hold several. */
  readonly pckCrl?: Uint8Array;
  /** The same for quotes of either authority. */
  readonly pckCrlProcessor?: Uint8Array;
  readonly pckCrlPlatform?: Uint8Array;
  /** PCK certificate and its authority, for quotes that carry none or only the first. */
  readonly pck?: Uint8Array;
  readonly tcbSigning?: Uint8Array;
  readonly tcbInfo?: Uint8Array;
  readonly qeIdentity?: Uint8Array;
}

const ROLES: readonly (readonly [string, keyof Collateral])[] = [
  ['ark', 'ark'],
  ['ask', 'ask'],
  ['vcek', 'vcek'],
  ['vlek', 'vlek'],
  ['crl', 'crl'],
  ['root-ca', 'rootCa'],
  ['root-crl', 'rootCrl'],
  ['pck-crl', 'pckCrl'],
  ['pck-crl-processor', 'pckCrlProcessor'],
  ['pck-crl-platform', 'pckCrlPlatform'],
  ['pck', 'pck'],
  ['tcb-signing', 'tcbSigning'],
];

/**
 * Sorts the files of a collateral directory into their roles: `ark.pem ask.pem vcek.der vlek.der crl.der auxblob.bin`,
 * `root-ca.der root-crl.der pck-crl.der pck-crl-processor.der pck-crl-platform.der pck.pem tcb-signing.pem
 * tcb-info.json qe-identity.json`. Certificates and
 * lists may end in `.pem`, `.der`, `.crt`, `.cer` or `.crl`; other names are left out.
 */
export function collateralFromFiles(files: Iterable<readonly [name: string, bytes: Uint8Array]>): Collateral {
  const collateral: { -readonly [K in keyof Collateral]: Collateral[K] } = {};
  for (const [name, bytes] of files) {
    if (name === 'tcb-info.json') collateral.tcbInfo = bytes;
    else if (name === 'qe-identity.json') collateral.qeIdentity = bytes;
    else if (name === 'auxblob.bin') collateral.auxblob = bytes;
    else {
      const match = /^([a-z-]+)\.(?:pem|der|crt|cer|crl)$/.exec(name);
      const role = match === null ? undefined : ROLES.find(([stem]) => stem === match[1]);
      if (role !== undefined) collateral[role[1]] = bytes;
    }
  }
  return collateral;
}
