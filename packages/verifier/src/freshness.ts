/** Whether a collateral file that is there still serves: right platform, in force at the time. */
import {
  AttestError,
  parseCertificate,
  parseRevocationList,
  parseSnpLeaf,
  readCertificates,
  type SnpTcb,
} from '@nestedsgx/attest';

function quietly(judge: () => boolean): boolean {
  try {
    return judge();
  } catch (error) {
    if (error instanceof AttestError || error instanceof SyntaxError || error instanceof TypeError)
      return false;
    throw error;
  }
}

const startsWith = (long: Uint8Array, hex: string) => Buffer.from(long).toString('hex').startsWith(hex);

/** A VCEK of this chip and TCB. */
export function vcekServes(der: Uint8Array, chipId: string, tcb: SnpTcb, time: number): boolean {
  return quietly(() => {
    const certificate = parseCertificate(der);
    const leaf = parseSnpLeaf(certificate);
    const names = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const;
    return (
      leaf.hwid !== null &&
      startsWith(leaf.hwid, chipId) &&
      names.every((name) => leaf.tcb[name] === tcb[name]) &&
      time <= certificate.notAfter
    );
  });
}

/** A list that is in force, by an issuer whose name holds `issuer`. */
export function listServes(der: Uint8Array, issuer: string, time: number): boolean {
  return quietly(() => {
    const list = parseRevocationList(der);
    const inForce = list.thisUpdate <= time && (list.nextUpdate === null || time <= list.nextUpdate);
    return inForce && list.issuer.commonName.includes(issuer);
  });
}

/** A document of Intel's that is in force and has these members. */
export function documentServes(
  json: Uint8Array,
  member: 'tcbInfo' | 'enclaveIdentity',
  wanted: Readonly<Record<string, string>>,
  time: number,
): boolean {
  return quietly(() => {
    const document = JSON.parse(new TextDecoder().decode(json)) as Record<string, Record<string, unknown>>;
    const body = document[member];
    if (body === undefined || body === null) return false;
    const next = Date.parse(String(body['nextUpdate']));
    if (Number.isNaN(next) || time > next) return false;
    return Object.entries(wanted).every(
      ([name, value]) => String(body[name]).toLowerCase() === value.toLowerCase(),
    );
  });
}

/** Certificates that are all valid. */
export function chainServes(pem: Uint8Array, time: number): boolean {
  return quietly(() =>
    readCertificates(pem, 'The chain').every(
      ({ notBefore, notAfter }) => notBefore <= time && time <= notAfter,
    ),
  );
}
