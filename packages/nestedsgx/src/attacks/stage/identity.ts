/** EREPORT and EGETKEY from inside a micro enclave, and the check of a report's MAC as any enclave makes it. */
import { createCipheriv } from 'node:crypto';
import { ENCLU, KEYREQUEST, REPORT, REPORT_BODY, sgxErrorName, TARGETINFO } from '@nestedsgx/arch';
import type { Micro } from './micro.js';

/** Offsets in the data pages: operands and outputs. Three data pages are needed. */
const OPERAND = 0x1000;
const DATA = 0x1400;
const OUTPUT = 0x1800;

/** A REPORT of `micro` for a target. @throws Error with what EREPORT gave */
export function reportFor(micro: Micro, target: Uint8Array, data: Uint8Array): Uint8Array {
  const at = micro.layout.data;
  micro.writeBytes(at + OPERAND, target);
  micro.writeBytes(at + DATA, data);
  const { base } = micro;
  const result = micro.leaf(ENCLU.EREPORT, base + at + OPERAND, base + at + DATA, base + at + OUTPUT);
  if (typeof result === 'string') throw new Error(`EREPORT gave ${result}`);
  return micro.readBytes(at + OUTPUT, REPORT.size);
}

/** EGETKEY: the key, or why there is none. */
export function keyOf(micro: Micro, request: Parameters<typeof KEYREQUEST.encode>[0]): Uint8Array | string {
  const at = micro.layout.data;
  micro.writeBytes(at + OPERAND, KEYREQUEST.encode(request));
  const result = micro.leaf(ENCLU.EGETKEY, micro.base + at + OPERAND, micro.base + at + OUTPUT);
  if (typeof result === 'string') return result;
  return result === 0 ? micro.readBytes(at + OUTPUT, 16) : sgxErrorName(result);
}

/** TARGETINFO that names the enclave which made `report`. */
export function targetOf(report: Uint8Array): Uint8Array {
  const { MRENCLAVE, ATTRIBUTES, MISCSELECT } = REPORT.decode(report);
  return TARGETINFO.encode({ MEASUREMENT: MRENCLAVE, ATTRIBUTES, MISCSELECT });
}

/** AES-128-CMAC of whole blocks. */
export function cmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  const cbc = (bytes: Uint8Array) => {
    const cipher = createCipheriv('aes-128-cbc', key, new Uint8Array(16));
    cipher.setAutoPadding(false);
    return new Uint8Array(cipher.update(bytes)).slice(-16);
  };
  const subkey = cbc(new Uint8Array(16));
  const carry = subkey[0]! >> 7;
  for (let i = 0; i < 16; i++) subkey[i] = ((subkey[i]! << 1) | ((subkey[i + 1] ?? 0) >> 7)) & 0xff;
  subkey[15]! ^= carry * 0x87;
  const last = message.slice();
  for (let i = 0; i < 16; i++) last[last.length - 16 + i]! ^= subkey[i]!;
  return cbc(last);
}

/** The MAC of a report under a key. */
export function reportMac(key: Uint8Array, report: Uint8Array): Uint8Array {
  return cmac(key, report.subarray(0, REPORT_BODY.size));
}
