/** KEYREQUEST. Source: Intel SDM Vol. 3D, "Key Request (KEYREQUEST)". */
import { bytes, u8, u16, u32 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { ATTRIBUTES } from './attributes.js';

/** KEYREQUEST (512 bytes, 512-byte aligned): operand of EGETKEY. */
export const KEYREQUEST = struct('KEYREQUEST', 512, {
  KEYNAME: at(0, u16),
  KEYPOLICY: at(2, u16),
  ISVSVN: at(4, u16),
  CET_ATTRIBUTES_MASK: at(6, u8),
  CPUSVN: at(8, bytes(16)),
  ATTRIBUTEMASK: at(24, ATTRIBUTES),
  KEYID: at(40, bytes(32)),
  MISCMASK: at(72, u32),
  CONFIGSVN: at(76, u16),
});
/** Decoded {@link KEYREQUEST}. */
export type KeyRequest = StructValue<typeof KEYREQUEST>;

/** KEYNAME of the EINIT token key. SDM Vol. 3D, "KEY REQUEST KeyNames". */
export const KEYNAME_EINITTOKEN = 0;
/** KEYNAME of the provisioning key. */
export const KEYNAME_PROVISION = 1;
/** KEYNAME of the provisioning seal key. */
export const KEYNAME_PROVISION_SEAL = 2;
/** KEYNAME of the report key. */
export const KEYNAME_REPORT = 3;
/** KEYNAME of the seal key. */
export const KEYNAME_SEAL = 4;

/** KEYPOLICY.MRENCLAVE: derive with the enclave's MRENCLAVE. SDM Vol. 3D, "Key Request Policy Structure". */
export const KEYPOLICY_MRENCLAVE = 1 << 0;
/** KEYPOLICY.MRSIGNER: derive with the enclave's MRSIGNER. */
export const KEYPOLICY_MRSIGNER = 1 << 1;
/** KEYPOLICY.NOISVPRODID: leave ISVPRODID out. */
export const KEYPOLICY_NOISVPRODID = 1 << 2;
/** KEYPOLICY.CONFIGID: derive with CONFIGID and CONFIGSVN. */
export const KEYPOLICY_CONFIGID = 1 << 3;
/** KEYPOLICY.ISVFAMILYID: derive with ISVFAMILYID. */
export const KEYPOLICY_ISVFAMILYID = 1 << 4;
/** KEYPOLICY.ISVEXTPRODID: derive with ISVEXTPRODID. */
export const KEYPOLICY_ISVEXTPRODID = 1 << 5;
