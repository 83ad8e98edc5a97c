/**
 * SIGSTRUCT fields and attributes that a configuration stands for. Source: Intel SGX SDK for Linux 2.26,
 * sdk/sign_tool/SignTool/manage_metadata.cpp; Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)".
 */
import {
  ATTRIBUTES_AEX_NOTIFY,
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_EINITTOKEN_KEY,
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  ATTRIBUTES_PROVISIONKEY,
  type Attributes,
  SIGSTRUCT_VENDOR_INTEL,
  type SigstructFields,
  writeU64,
  XFRM_LEGACY,
  XFRM_PKRU,
} from '@nestedsgx/arch';
import type { EnclaveConfig } from './config.js';
import type { SdkRelease } from './sdk-release.js';

const ALL_BITS = 0xffff_ffff_ffff_ffffn;
/** ATTRIBUTES bits 48…55: never compared. */
const NOT_COMPARED = 0x00ff_0000_0000_0000n;
const XFRM_AMX = 0x6_0000n;
/** Components that an enclave of the SDK may have: up to AVX-512, PKRU, AMX. The others must be off. */
const XFRM_KNOWN = 0xe7n | XFRM_PKRU | XFRM_AMX;
/** Values of PKRU and AMX. */
const MUST_BE_ON = 1n;
const LOADER_CHOOSES = 2n;

/** What goes into SIGSTRUCT, and the attributes that a loader starts from. */
export interface SignedFields {
  readonly fields: Omit<SigstructFields, 'ENCLAVEHASH' | 'DATE'>;
  /** metadata_t.attributes: what is signed, and every XFRM bit that is not compared. */
  readonly attributes: Attributes;
}

/** The fields for checked values, as a release of the SDK signs them. */
export function signedFields(values: EnclaveConfig['values'], release: SdkRelease): SignedFields {
  let flags = ATTRIBUTES_MODE64BIT;
  for (const [name, bit] of [
    ['ProvisionKey', ATTRIBUTES_PROVISIONKEY],
    ['LaunchKey', ATTRIBUTES_EINITTOKEN_KEY],
    ['EnableKSS', ATTRIBUTES_KSS],
    ['EnableAEXNotify', ATTRIBUTES_AEX_NOTIFY],
  ] as const)
    if (values[name] === 1n) flags |= bit;
  const debugFree = values.DisableDebug === 1n ? 0n : ATTRIBUTES_DEBUG;
  let xfrm = XFRM_LEGACY;
  let xfrmMask = XFRM_LEGACY | (ALL_BITS & ~XFRM_KNOWN);
  for (const [choice, bits] of [
    [values.PKRU, XFRM_PKRU],
    [values.AMX, XFRM_AMX],
  ]) {
    if (choice === MUST_BE_ON) xfrm |= bits;
    if (choice !== LOADER_CHOOSES) xfrmMask |= bits;
  }
  return {
    fields: {
      VENDOR: values.IntelSigned === 1n ? SIGSTRUCT_VENDOR_INTEL : 0,
      SWDEFINED: Number(values.HW),
      MISCSELECT: Number(release.desiredMiscSelect ? values.MiscSelect & values.MiscMask : values.MiscSelect),
      MISCMASK: Number(values.MiscMask),
      ISVFAMILYID: pair(values.ISVFAMILYID_L, values.ISVFAMILYID_H),
      ATTRIBUTES: { FLAGS: flags, XFRM: xfrm },
      ATTRIBUTEMASK: { FLAGS: ALL_BITS & ~(debugFree | NOT_COMPARED), XFRM: xfrmMask },
      ISVEXTPRODID: pair(values.ISVEXTPRODID_L, values.ISVEXTPRODID_H),
      ISVPRODID: Number(values.ProdID),
      ISVSVN: Number(values.ISVSVN),
    },
    attributes: { FLAGS: flags, XFRM: (ALL_BITS & ~xfrmMask) | (xfrm & xfrmMask) },
  };
}

function pair(low: bigint, high: bigint): Uint8Array {
  const out = new Uint8Array(16);
  writeU64(out, 0, low);
  writeU64(out, 8, high);
  return out;
}
