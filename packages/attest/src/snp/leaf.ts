/** AMD's certificate extensions of a VCEK or VLEK (AMD 57230, "VCEK certificate": arc 1.3.6.1.4.1.3704.1). */
import { toHex } from '../bytes.js';
import type { Certificate } from '../x509/certificate.js';
import { DerReader, derFailure, smallInteger, TAG } from '../x509/der.js';
import type { SnpTcb } from './tcb.js';

const ARC = '1.3.6.1.4.1.3704.1';

/** What the leaf certificate says of the chip and firmware that its key belongs to. */
export interface SnpLeaf {
  readonly kind: 'VCEK' | 'VLEK';
  /** For example `Milan-B0`, `Genoa`, or this system's own name. */
  readonly productName: string;
  readonly tcb: SnpTcb;
  /** Chip id (64 bytes; 8 on Turin) of a VCEK; null for a VLEK. */
  readonly hwid: Uint8Array | null;
  /** The cloud provider a VLEK was issued to; null for a VCEK. */
  readonly cspId: string | null;
}

/**
 * Reads the extensions. Exactly one of hwid (VCEK) and CSP id (VLEK) must be there.
 * @throws AttestError CERTIFICATE_MALFORMED
 */
export function parseSnpLeaf(certificate: Certificate): SnpLeaf {
  const value = (suffix: string, what: string): Uint8Array => {
    const extension = certificate.extensions.get(`${ARC}.${suffix}`);
    if (extension === undefined) derFailure(`the leaf has no ${what} (extension ${ARC}.${suffix})`);
    return extension.value;
  };
  const single = (suffix: string, tag: number, what: string): Uint8Array => {
    const reader = new DerReader(value(suffix, what));
    const contents = reader.expect(tag, what).contents;
    reader.end(what);
    return contents;
  };
  const level = (suffix: string, what: string, limit = 127): number => {
    const number = smallInteger(single(suffix, TAG.INTEGER, what), what);
    if (number > limit) derFailure(`${what} is ${number}, above ${limit}`);
    return number;
  };
  const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes.subarray(0, 128));
  // Which structure the extensions follow; the KDS has no other than 0 and 1 so far, and says nothing of it.
  level('1', 'structure version');
  for (const reserved of ['3.4', '3.5', '3.6', '3.7']) {
    if (certificate.extensions.has(`${ARC}.${reserved}`) && level(reserved, `spl${reserved.slice(2)}`) !== 0)
      derFailure(`the leaf has a reserved patch level set (extension ${ARC}.${reserved})`);
  }
  const hasHwid = certificate.extensions.has(`${ARC}.4`);
  const hasCsp = certificate.extensions.has(`${ARC}.5`);
  if (hasHwid === hasCsp) derFailure('the leaf must have exactly one of hwid (VCEK) and CSP id (VLEK)');
  let hwid: Uint8Array | null = null;
  if (hasHwid) {
    const raw = value('4', 'hwid');
    hwid = raw.length === 64 || raw.length === 8 ? raw : single('4', TAG.OCTET_STRING, 'hwid');
    if (hwid.length !== 64 && hwid.length !== 8)
      derFailure(`the hwid ${toHex(hwid.subarray(0, 16))}… has ${hwid.length} bytes`);
  }
  return {
    kind: hasHwid ? 'VCEK' : 'VLEK',
    productName: text(single('2', TAG.IA5_STRING, 'product name')),
    tcb: {
      fmc: certificate.extensions.has(`${ARC}.3.9`) ? level('3.9', 'fmcSPL') : null,
      bootloader: level('3.1', 'blSPL'),
      tee: level('3.2', 'teeSPL'),
      snp: level('3.3', 'snpSPL'),
      microcode: level('3.8', 'ucodeSPL', 255),
    },
    hwid,
    cspId: hasCsp ? text(single('5', TAG.IA5_STRING, 'CSP id')) : null,
  };
}
