/** MSG_KEY_REQ: keys derived from the chip or from the guest's VMRK (SEV-SNP Firmware ABI, "MSG_KEY_REQ"). */
import { createHmac } from 'node:crypto';
import {
  decodeTcbVersion,
  encodeTcbVersion,
  GUEST_FIELD_SELECT,
  GUEST_MSG_STATUS,
  MSG_KEY_REQ,
  MSG_KEY_RSP,
  type MsgKeyReq,
  tcbAtLeast,
} from '@nestedsgx/arch';
import { CHIP_PRODUCT, type Chip } from './chip.js';
import type { GuestContext } from './launch.js';

/** ROOT_KEY_SELECT: bit 0 the root, bits 2:1 which endorsement key (0, 1: VCEK; 2: VLEK). */
const ROOT_VMRK = 1;
const KEY_SEL_VLEK = 2;
const KNOWN_FIELDS = 0x3fn;
const LABEL = 'nestedsgx/snp-derived-key/v1';

/**
 * Answers a key request that came under VMPCK `vmpck`. STATUS: INVALID_PARAMETERS for reserved bits, a VMPL
 * more privileged than the key's, a GUEST_SVN above that of the ID block, a TCB_VERSION above the committed
 * one in any component; INVALID_KEY_SELECTION for the VLEK. The key depends on every selected field, on which
 * fields are selected, on the VMPL, and on the root; on nothing else.
 */
export function answerKeyRequest(
  chip: Chip,
  guest: GuestContext,
  vmpck: number,
  payload: Uint8Array,
): Uint8Array {
  const request = MSG_KEY_REQ.decode(payload);
  const keySelect = request.ROOT_KEY_SELECT >>> 1;
  const reserved = MSG_KEY_REQ.firstReservedNonZero(payload) !== -1 || keySelect > 2;
  const tcb = decodeTcbVersion(request.TCB_VERSION, CHIP_PRODUCT);
  if (
    reserved ||
    (request.GUEST_FIELD_SELECT & ~KNOWN_FIELDS) !== 0n ||
    request.VMPL > 3 ||
    request.VMPL < vmpck ||
    request.GUEST_SVN > guest.guestSvn ||
    encodeTcbVersion(tcb, CHIP_PRODUCT) !== request.TCB_VERSION ||
    !tcbAtLeast(chip.tcb, tcb)
  ) {
    return MSG_KEY_RSP.encode({ STATUS: GUEST_MSG_STATUS.INVALID_PARAMETERS });
  }
  if (keySelect === KEY_SEL_VLEK)
    return MSG_KEY_RSP.encode({ STATUS: GUEST_MSG_STATUS.INVALID_KEY_SELECTION });
  return MSG_KEY_RSP.encode({ STATUS: GUEST_MSG_STATUS.SUCCESS, DERIVED_KEY: derive(chip, guest, request) });
}

/** SP 800-108 in counter mode, one block of HMAC-SHA-256 over a fixed-length context. */
function derive(chip: Chip, guest: GuestContext, request: MsgKeyReq): Uint8Array {
  const fromVmrk = (request.ROOT_KEY_SELECT & ROOT_VMRK) !== 0;
  const root = fromVmrk ? guest.vmrk : chipRoot(chip);
  const select = request.GUEST_FIELD_SELECT;
  const has = (bit: bigint) => (select & bit) !== 0n;
  const context = Buffer.alloc(168);
  context.writeUInt32LE(fromVmrk ? ROOT_VMRK : 0, 0);
  context.writeUInt32LE(request.VMPL, 4);
  context.writeBigUInt64LE(select, 8);
  if (has(GUEST_FIELD_SELECT.GUEST_POLICY)) context.writeBigUInt64LE(guest.policy, 16);
  if (has(GUEST_FIELD_SELECT.IMAGE_ID)) context.set(guest.idBlock?.IMAGE_ID ?? [], 24);
  if (has(GUEST_FIELD_SELECT.FAMILY_ID)) context.set(guest.idBlock?.FAMILY_ID ?? [], 40);
  if (has(GUEST_FIELD_SELECT.MEASUREMENT)) context.set(guest.measurement, 56);
  if (has(GUEST_FIELD_SELECT.GUEST_SVN)) context.writeUInt32LE(request.GUEST_SVN, 104);
  if (has(GUEST_FIELD_SELECT.TCB_VERSION)) context.writeBigUInt64LE(request.TCB_VERSION, 108);
  // The firmware always mixes in who authenticated the guest: an ID key of another owner gives other keys.
  context.set(guest.idKeyDigest, 116);
  context.writeUInt32LE(256, 164);
  const block = Buffer.concat([Buffer.from([1, 0, 0, 0]), Buffer.from(`${LABEL}\0`), context]);
  return new Uint8Array(createHmac('sha256', root).update(block).digest());
}

/** The chip's derivation secret. As on hardware it does not leave the PSP, and another chip has another. */
function chipRoot(chip: Chip): Buffer {
  return createHmac('sha384', chip.secret).update('nestedsgx/snp-chip-root/v1\0').digest();
}
