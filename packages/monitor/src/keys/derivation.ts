/**
 * Derivation data per KEYNAME: the fields of the manual's key-dependency table at fixed offsets. The layout is
 * the one Intel's simulation publishes, so that its known answers check it; PADDING is the same for every valid
 * signature and is left out, fuses are the base key. Source: Intel SDM Vol. 3D, "EGETKEY", Operation.
 */
import {
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_REPORT,
  KEYNAME_SEAL,
  KEYPOLICY_CONFIGID,
  KEYPOLICY_ISVEXTPRODID,
  KEYPOLICY_ISVFAMILYID,
  KEYPOLICY_MRENCLAVE,
  KEYPOLICY_MRSIGNER,
  KEYPOLICY_NOISVPRODID,
  KEYREQUEST,
  readU32,
  SECS,
  writeU32,
} from '@nestedsgx/arch';
import type { EnclaveRecord } from '../state/enclave.js';

/** Bytes of derivation data by KEYNAME. */
export const DERIVATION_SIZE = Object.freeze({
  [KEYNAME_EINITTOKEN]: 128,
  [KEYNAME_PROVISION]: 104,
  [KEYNAME_PROVISION_SEAL]: 200,
  [KEYNAME_REPORT]: 192,
  [KEYNAME_SEAL]: 280,
});

const S = SECS.offsets;
const K = KEYREQUEST.offsets;

function copy(to: Uint8Array, at: number, from: Uint8Array, start: number, length: number): void {
  for (let i = 0; i < length; i++) to[at + i] = from[start + i];
}

/** TMP_ATTRIBUTES and TMP_MISCSELECT at 8 and `miscAt`; INIT and DEBUG always count. */
function maskedAttributes(out: Uint8Array, request: Uint8Array, secs: Uint8Array, miscAt: number): void {
  for (let i = 0; i < 16; i++) {
    const mask = request[K.ATTRIBUTEMASK + i] | (i === 0 ? 3 : 0);
    out[8 + i] = mask & secs[S.ATTRIBUTES + i];
  }
  writeU32(out, miscAt, readU32(request, K.MISCMASK) & readU32(secs, S.MISCSELECT));
}

function policyOf(request: Uint8Array): number {
  return request[K.KEYPOLICY] | (request[K.KEYPOLICY + 1] << 8);
}

/** KSS fields and ISVPRODID by policy: ISVPRODID, CONFIGSVN, CONFIGID, ISVFAMILYID, ISVEXTPRODID. */
function kssFields(
  out: Uint8Array,
  enclave: EnclaveRecord,
  request: Uint8Array,
  at: { prodId: number; configSvn: number; configId: number; familyId: number; extProdId: number },
): void {
  const policy = policyOf(request);
  if ((policy & KEYPOLICY_NOISVPRODID) === 0) copy(out, at.prodId, enclave.secs, S.ISVPRODID, 2);
  if ((policy & KEYPOLICY_CONFIGID) !== 0) {
    copy(out, at.configSvn, request, K.CONFIGSVN, 2);
    copy(out, at.configId, enclave.secs, S.CONFIGID, 64);
  }
  if ((policy & KEYPOLICY_ISVFAMILYID) !== 0) copy(out, at.familyId, enclave.isvFamilyId, 0, 16);
  if ((policy & KEYPOLICY_ISVEXTPRODID) !== 0) copy(out, at.extProdId, enclave.isvExtProdId, 0, 16);
}

/** Data of the seal key: everything by request and policy. */
export function sealKeyData(enclave: EnclaveRecord, request: Uint8Array, ownerEpoch: Uint8Array): Uint8Array {
  const out = new Uint8Array(280);
  const policy = policyOf(request);
  out[0] = KEYNAME_SEAL;
  copy(out, 2, request, K.KEYPOLICY, 2);
  maskedAttributes(out, request, enclave.secs, 40);
  copy(out, 24, request, K.ATTRIBUTEMASK, 16);
  writeU32(out, 44, ~readU32(request, K.MISCMASK));
  copy(out, 48, ownerEpoch, 0, 16);
  copy(out, 64, request, K.CPUSVN, 16);
  copy(out, 80, request, K.ISVSVN, 2);
  kssFields(out, enclave, request, {
    prodId: 82,
    configSvn: 84,
    configId: 86,
    familyId: 150,
    extProdId: 166,
  });
  if ((policy & KEYPOLICY_MRENCLAVE) !== 0) copy(out, 182, enclave.secs, S.MRENCLAVE, 32);
  if ((policy & KEYPOLICY_MRSIGNER) !== 0) copy(out, 214, enclave.secs, S.MRSIGNER, 32);
  copy(out, 246, request, K.KEYID, 32);
  return out;
}

/** Whom a report key is for: the fields of TARGETINFO, or of the requesting enclave. */
export interface ReportTarget {
  /** 16 bytes of ATTRIBUTES at `attributesAt` of `bytes`, and so on. */
  readonly bytes: Uint8Array;
  readonly attributesAt: number;
  readonly miscselectAt: number;
  readonly mrenclaveAt: number;
  readonly configSvnAt: number;
  readonly configIdAt: number;
}

/** Data of the report key of a target. */
export function reportKeyData(
  target: ReportTarget,
  cpuSvn: Uint8Array,
  ownerEpoch: Uint8Array,
  keyId: Uint8Array,
  keyIdAt = 0,
): Uint8Array {
  const out = new Uint8Array(192);
  out[0] = KEYNAME_REPORT;
  copy(out, 8, target.bytes, target.attributesAt, 16);
  copy(out, 24, target.bytes, target.miscselectAt, 4);
  copy(out, 28, ownerEpoch, 0, 16);
  copy(out, 44, target.bytes, target.mrenclaveAt, 32);
  copy(out, 76, cpuSvn, 0, 16);
  copy(out, 92, target.bytes, target.configSvnAt, 2);
  copy(out, 94, target.bytes, target.configIdAt, 64);
  copy(out, 158, keyId, keyIdAt, 32);
  return out;
}

/** A report target whose fields lie in a SECS. */
export function secsTarget(secs: Uint8Array): ReportTarget {
  return {
    bytes: secs,
    attributesAt: S.ATTRIBUTES,
    miscselectAt: S.MISCSELECT,
    mrenclaveAt: S.MRENCLAVE,
    configSvnAt: S.CONFIGSVN,
    configIdAt: S.CONFIGID,
  };
}

/** Fields of the EINIT token key, from the launch enclave's SECS and request, or from a token. */
export interface LaunchKeyFields {
  attributes: Uint8Array;
  miscselect: number;
  cpuSvn: Uint8Array;
  isvSvn: number;
  isvProdId: number;
  mrsigner: Uint8Array;
  keyId: Uint8Array;
}

/** Data of the EINIT token key. */
export function launchKeyData(f: LaunchKeyFields, ownerEpoch: Uint8Array): Uint8Array {
  const out = new Uint8Array(128);
  out[0] = KEYNAME_EINITTOKEN;
  out.set(f.attributes, 8);
  writeU32(out, 24, f.miscselect);
  out.set(ownerEpoch, 28);
  out.set(f.cpuSvn, 44);
  out[60] = f.isvSvn;
  out[61] = f.isvSvn >>> 8;
  out[62] = f.isvProdId;
  out[63] = f.isvProdId >>> 8;
  out.set(f.mrsigner, 64);
  out.set(f.keyId, 96);
  return out;
}

/** Data of the EINIT token key as EGETKEY derives it. */
export function einittokenKeyData(
  enclave: EnclaveRecord,
  request: Uint8Array,
  ownerEpoch: Uint8Array,
): Uint8Array {
  const scratch = new Uint8Array(40);
  maskedAttributes(scratch, request, enclave.secs, 24);
  const { secs } = enclave;
  return launchKeyData(
    {
      attributes: scratch.subarray(8, 24),
      miscselect: readU32(scratch, 24),
      cpuSvn: request.subarray(K.CPUSVN, K.CPUSVN + 16),
      isvSvn: request[K.ISVSVN] | (request[K.ISVSVN + 1] << 8),
      isvProdId: secs[S.ISVPRODID] | (secs[S.ISVPRODID + 1] << 8),
      mrsigner: secs.subarray(S.MRSIGNER, S.MRSIGNER + 32),
      keyId: request.subarray(K.KEYID, K.KEYID + 32),
    },
    ownerEpoch,
  );
}

/** Data of the provisioning key: no owner epoch, no KEYID, no fuses of the owner. */
export function provisionKeyData(enclave: EnclaveRecord, request: Uint8Array): Uint8Array {
  const out = new Uint8Array(104);
  provisionCommon(out, KEYNAME_PROVISION, enclave, request);
  copy(out, 66, enclave.secs, S.ISVPRODID, 2);
  copy(out, 68, enclave.secs, S.MRSIGNER, 32);
  return out;
}

/** Data of the provisioning seal key. */
export function provisionSealKeyData(enclave: EnclaveRecord, request: Uint8Array): Uint8Array {
  const out = new Uint8Array(200);
  provisionCommon(out, KEYNAME_PROVISION_SEAL, enclave, request);
  copy(out, 2, request, K.KEYPOLICY, 2);
  kssFields(out, enclave, request, {
    prodId: 66,
    configSvn: 68,
    configId: 70,
    familyId: 134,
    extProdId: 150,
  });
  copy(out, 166, enclave.secs, S.MRSIGNER, 32);
  return out;
}

function provisionCommon(out: Uint8Array, name: number, enclave: EnclaveRecord, request: Uint8Array): void {
  out[0] = name;
  maskedAttributes(out, request, enclave.secs, 40);
  copy(out, 24, request, K.ATTRIBUTEMASK, 16);
  writeU32(out, 44, ~readU32(request, K.MISCMASK));
  copy(out, 48, request, K.CPUSVN, 16);
  copy(out, 64, request, K.ISVSVN, 2);
}
