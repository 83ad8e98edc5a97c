/** Sealing and opening of guest messages (SEV-SNP Firmware ABI, "Guest Messages"): AES-256-GCM under a VMPCK. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import {
  GUEST_MESSAGE,
  GUEST_MESSAGE_AAD_OFFSET,
  GUEST_MESSAGE_ALGO_AES_256_GCM,
  GUEST_MESSAGE_HDR_VERSION,
  GUEST_MESSAGE_MAX_PAYLOAD,
  type GuestMessage,
} from '@nestedsgx/arch';

const HEADER = GUEST_MESSAGE.size;
const TAG = 16;

/** What is in a message. */
export interface Message {
  vmpck: number;
  type: number;
  version: number;
  sequence: bigint;
  payload: Uint8Array;
}

/** Header and ciphertext of a message, HEADER + payload bytes. `key` has 32 bytes. */
export function sealMessage(key: Uint8Array, message: Message): Uint8Array {
  const { payload } = message;
  const out = new Uint8Array(HEADER + payload.length);
  GUEST_MESSAGE.encodeInto(
    {
      MSG_SEQNO: message.sequence,
      ALGO: GUEST_MESSAGE_ALGO_AES_256_GCM,
      HDR_VERSION: GUEST_MESSAGE_HDR_VERSION,
      HDR_SIZE: HEADER,
      MSG_TYPE: message.type,
      MSG_VERSION: message.version,
      MSG_SIZE: payload.length,
      MSG_VMPCK: message.vmpck,
    },
    out,
  );
  const cipher = createCipheriv('aes-256-gcm', key, nonce(message.sequence));
  cipher.setAAD(out.subarray(GUEST_MESSAGE_AAD_OFFSET, HEADER));
  out.set(cipher.update(payload), HEADER);
  cipher.final();
  out.set(cipher.getAuthTag(), 0);
  return out;
}

/** The header, when it is one this firmware understands and the message is all there; else what is wrong. */
export function readHeader(bytes: Uint8Array): GuestMessage | string {
  if (bytes.length < HEADER) return `a message of ${bytes.length} bytes has no header`;
  const h = GUEST_MESSAGE.decode(bytes);
  if (h.ALGO !== GUEST_MESSAGE_ALGO_AES_256_GCM) return `algorithm ${h.ALGO} is not AES-256-GCM`;
  if (h.HDR_VERSION !== GUEST_MESSAGE_HDR_VERSION) return `header version ${h.HDR_VERSION} is not 1`;
  if (h.HDR_SIZE !== HEADER) return `header size ${h.HDR_SIZE} is not ${HEADER}`;
  if (h.MSG_VMPCK > 3) return `there is no VMPCK ${h.MSG_VMPCK}`;
  if (h.MSG_SIZE > GUEST_MESSAGE_MAX_PAYLOAD || HEADER + h.MSG_SIZE > bytes.length) {
    return `a payload of ${h.MSG_SIZE} bytes is not in the message`;
  }
  if (GUEST_MESSAGE.firstReservedNonZero(bytes) !== -1) return 'a reserved byte of the header is not zero';
  return h;
}

/** The payload, or undefined when the message is not authentic under `key`. `header` comes from `readHeader`. */
export function openPayload(
  key: Uint8Array,
  bytes: Uint8Array,
  header: GuestMessage,
): Uint8Array | undefined {
  for (let i = TAG; i < header.AUTHTAG.length; i++) if (header.AUTHTAG[i] !== 0) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce(header.MSG_SEQNO), { authTagLength: TAG });
  decipher.setAAD(bytes.subarray(GUEST_MESSAGE_AAD_OFFSET, HEADER));
  decipher.setAuthTag(header.AUTHTAG.subarray(0, TAG));
  const plain = decipher.update(bytes.subarray(HEADER, HEADER + header.MSG_SIZE));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return new Uint8Array(plain);
}

/** IV: the sequence number, little endian, and four zero bytes. */
function nonce(sequence: bigint): Uint8Array {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setBigUint64(0, sequence, true);
  return iv;
}
