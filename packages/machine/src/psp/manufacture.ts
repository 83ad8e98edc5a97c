/** Makes a new software chip: its secrets, its VCEK and the chain above it. Needed once per installation. */
import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import type { TcbVersion } from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import {
  basicConstraints,
  type Extension,
  issueCertificate,
  keyIdentifiers,
  keyUsage,
  NAME,
  type Name,
} from './certificate.js';
import { CHIP_PRODUCT_NAME, CHIP_TCB, type Chip } from './chip.js';
import * as der from './der.js';

/** AMD's arc for VCEK extensions (AMD 57230, "VCEK Certificate Format"). */
const AMD = '1.3.6.1.4.1.3704.1';
const NOT_AMD = 'NestedSGX software machine - not AMD';
const YEAR_MS = 31_557_600_000;

/** A fresh chip with random identity, and certificates valid from a day before `now`. */
export function manufactureChip(now = new Date(), tcb: TcbVersion = CHIP_TCB): Chip {
  const id = new Uint8Array(randomBytes(64));
  const ark = newKey();
  const ask = newKey();
  const vcek = newKey();
  // The root's name carries part of the chip's identity: two installations never look alike.
  const tag = Buffer.from(id.subarray(0, 4)).toString('hex');
  const arkName = name(`ARK-SOFTWARE-${tag}`);
  const askName = name(`SEV-SOFTWARE-${tag}`);
  const notBefore = new Date(now.getTime() - 86_400_000);
  const certificate = (
    issuer: Name,
    issuerKey: KeyObject,
    subject: Name,
    subjectKey: KeyObject,
    years: number,
    extensions: Extension[],
  ) =>
    issueCertificate(
      {
        serial: serialNumber(),
        issuer,
        subject,
        notBefore,
        notAfter: new Date(now.getTime() + years * YEAR_MS),
        publicKey: new Uint8Array(publicKey(subjectKey).export({ type: 'spki', format: 'der' })),
        extensions: [...extensions, ...keyIdentifiers(publicKey(subjectKey), publicKey(issuerKey))],
      },
      issuerKey,
    );
  return {
    id,
    secret: new Uint8Array(randomBytes(48)),
    tcb,
    vcekKey: vcek,
    certificates: {
      ark: certificate(arkName, ark, arkName, ark, 25, [basicConstraints(1), keyUsage(true)]),
      ask: certificate(arkName, ark, askName, ask, 25, [basicConstraints(0), keyUsage(true)]),
      vcek: certificate(askName, ask, name('SEV-VCEK-SOFTWARE'), vcek, 20, [
        basicConstraints(undefined),
        keyUsage(false),
        ...chipExtensions(id, tcb),
      ]),
    },
  };
}

/** Version, product, security patch levels and hardware id, as in AMD's VCEK certificates. */
function chipExtensions(id: Uint8Array, tcb: TcbVersion): Extension[] {
  const level = (n: number, value: number): Extension => ({
    oid: `${AMD}.3.${n}`,
    value: der.integer(value),
  });
  return [
    { oid: `${AMD}.1`, value: der.integer(1) },
    { oid: `${AMD}.2`, value: der.ia5(CHIP_PRODUCT_NAME) },
    level(1, tcb.BOOT_LOADER),
    level(2, tcb.TEE),
    level(4, 0),
    level(5, 0),
    level(6, 0),
    level(7, 0),
    level(3, tcb.SNP),
    level(8, tcb.MICROCODE),
    // As AMD does it: the 64 bytes themselves, without a DER wrapping of their own.
    { oid: `${AMD}.4`, value: id },
  ];
}

function newKey(): KeyObject {
  return freshKey({ curve: 'P-384' });
}

function publicKey(key: KeyObject): KeyObject {
  return createPublicKey(key);
}

function name(commonName: string): Name {
  return [
    [NAME.O, NOT_AMD],
    [NAME.CN, commonName],
  ];
}

/** 16 random bytes, positive and not zero. */
function serialNumber(): Uint8Array {
  const b = new Uint8Array(randomBytes(16));
  b[0] = (b[0] & 0x7f) | 0x40;
  return b;
}
