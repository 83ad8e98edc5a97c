/** What makes one software chip: its identity, its secrets, its keys and certificates. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { TcbVersion } from '@nestedsgx/arch';
import { MachineError } from '../errors.js';

/** The chain, DER. */
export interface ChipCertificates {
  ark: Uint8Array;
  ask: Uint8Array;
  vcek: Uint8Array;
}

/** A chip as it is kept. The private keys of ARK and ASK are destroyed after manufacturing: nobody has them. */
export interface Chip {
  /** CHIP_ID, 64 bytes. */
  id: Uint8Array;
  /** Secret of the chip, 48 bytes: the root of all derived keys. */
  secret: Uint8Array;
  tcb: TcbVersion;
  certificates: ChipCertificates;
  vcekKey: KeyObject;
}

/** The CPU that reports and certificates speak of: the family and model of a Milan, so that layouts are known. */
export const CHIP_PRODUCT = 'Milan';
export const CHIP_PRODUCT_NAME = 'Milan-B1';
export const CHIP_CPUID = Object.freeze({ family: 0x19, model: 1, stepping: 1 });
export const CHIP_TCB: TcbVersion = Object.freeze({ BOOT_LOADER: 4, TEE: 0, SNP: 23, MICROCODE: 213 });

/** SHA-256 of a certificate's SubjectPublicKeyInfo (32 bytes). */
export function spkiFingerprint(certificate: Uint8Array): Uint8Array {
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  return new Uint8Array(createHash('sha256').update(spki).digest());
}

interface StoredChip {
  format: 1;
  id: string;
  secret: string;
  tcb: TcbVersion;
  ark: string;
  ask: string;
  vcek: string;
  vcekKey: string;
}

/** The file's bytes: a line of JSON and a line with its SHA-256, so that damage is seen. */
export function encodeChip(chip: Chip): string {
  const b64 = (b: Uint8Array) => Buffer.from(b).toString('base64');
  const stored: StoredChip = {
    format: 1,
    id: b64(chip.id),
    secret: b64(chip.secret),
    tcb: chip.tcb,
    ark: b64(chip.certificates.ark),
    ask: b64(chip.certificates.ask),
    vcek: b64(chip.certificates.vcek),
    vcekKey: b64(chip.vcekKey.export({ type: 'pkcs8', format: 'der' })),
  };
  const line = JSON.stringify(stored);
  return `${line}\n${checksum(line)}\n`;
}

/** Reads what `encodeChip` wrote and checks that key and chain belong together. Throws PSP_STATE_DAMAGED. */
export function decodeChip(text: string, where: string): Chip {
  const [line, sum, rest] = text.split('\n');
  if (rest !== '' || sum !== checksum(line)) throw damaged(where, 'its checksum does not fit');
  let stored: StoredChip;
  try {
    stored = JSON.parse(line) as StoredChip;
    if (stored.format !== 1) throw damaged(where, `it has format ${String(stored.format)}`);
    const bytes = (s: string) => new Uint8Array(Buffer.from(s, 'base64'));
    const vcekKey = createPrivateKey({
      key: Buffer.from(stored.vcekKey, 'base64'),
      format: 'der',
      type: 'pkcs8',
    });
    const certificates = { ark: bytes(stored.ark), ask: bytes(stored.ask), vcek: bytes(stored.vcek) };
    const chip = {
      id: bytes(stored.id),
      secret: bytes(stored.secret),
      tcb: stored.tcb,
      certificates,
      vcekKey,
    };
    if (chip.id.length !== 64 || chip.secret.length !== 48)
      throw damaged(where, 'a field has a wrong length');
    const own = createPublicKey(vcekKey).export({ type: 'spki', format: 'der' });
    const certified = new X509Certificate(certificates.vcek).publicKey.export({
      type: 'spki',
      format: 'der',
    });
    if (!own.equals(certified)) throw damaged(where, 'the VCEK certificate is not that of the key');
    return chip;
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw damaged(where, 'a field cannot be read', cause);
  }
}

function checksum(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}

function damaged(where: string, why: string, cause?: unknown): MachineError {
  return new MachineError('PSP_STATE_DAMAGED', `The stored chip ${where} is damaged: ${why}.`, {
    cause,
    advice:
      'Restore it from a backup, or remove it to make a new chip; what the old one sealed is lost then.',
  });
}
