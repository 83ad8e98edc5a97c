/** SNP secrets page. Source: AMD 56860, "Secrets Page Format"; SVSM fields of its guest-reserved area from AMD 58019. */
import { bytes, u8, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** SECRETS_PAGE (4096 bytes). VMPCK0…3 are the guest message keys of VMPL0…3. */
export const SECRETS_PAGE = struct('SECRETS_PAGE', 4096, {
  VERSION: at(0x000, u32),
  GCTX: at(0x004, u32),
  FMS: at(0x008, u32),
  GOSVW: at(0x010, bytes(16)),
  VMPCK0: at(0x020, bytes(32)),
  VMPCK1: at(0x040, bytes(32)),
  VMPCK2: at(0x060, bytes(32)),
  VMPCK3: at(0x080, bytes(32)),
  GUEST_RESERVED: at(0x0a0, bytes(96)),
  VMSA_TWEAK_BITMAP: at(0x100, bytes(64)),
  SVSM_BASE: at(0x140, u64),
  SVSM_SIZE: at(0x148, u64),
  SVSM_CAA: at(0x150, u64),
  SVSM_MAX_VERSION: at(0x158, u32),
  SVSM_GUEST_VMPL: at(0x15c, u8),
  TSC_FACTOR: at(0x160, u32),
});
/** Decoded {@link SECRETS_PAGE}. */
export type SecretsPage = StructValue<typeof SECRETS_PAGE>;

/** CPUID_FUNCTION (48 bytes): one entry of the CPUID page. AMD 56860, "CPUID Page". */
export const CPUID_FUNCTION = struct('CPUID_FUNCTION', 48, {
  EAX_IN: at(0, u32),
  ECX_IN: at(4, u32),
  XCR0_IN: at(8, u64),
  XSS_IN: at(16, u64),
  EAX: at(24, u32),
  EBX: at(28, u32),
  ECX: at(32, u32),
  EDX: at(36, u32),
});
/** Decoded {@link CPUID_FUNCTION}. */
export type CpuidFunction = StructValue<typeof CPUID_FUNCTION>;

/** ID_BLOCK (0x60 bytes): expected digest and identity given at SNP_LAUNCH_FINISH. AMD 56860, "ID Block". */
export const ID_BLOCK = struct('ID_BLOCK', 0x60, {
  LD: at(0x00, bytes(48)),
  FAMILY_ID: at(0x30, bytes(16)),
  IMAGE_ID: at(0x40, bytes(16)),
  VERSION: at(0x50, u32),
  GUEST_SVN: at(0x54, u32),
  POLICY: at(0x58, u64),
});
/** Decoded {@link ID_BLOCK}. */
export type IdBlock = StructValue<typeof ID_BLOCK>;

/** ID_AUTH (4096 bytes): signatures and keys for an ID block. AMD 56860, "ID Authentication Information Structure". */
export const ID_AUTH = struct('ID_AUTH', 4096, {
  ID_KEY_ALGO: at(0x000, u32),
  AUTH_KEY_ALGO: at(0x004, u32),
  ID_BLOCK_SIG: at(0x040, bytes(512)),
  ID_KEY: at(0x240, bytes(1028)),
  ID_KEY_SIG: at(0x680, bytes(512)),
  AUTHOR_KEY: at(0x880, bytes(1028)),
});
/** Decoded {@link ID_AUTH}. */
export type IdAuth = StructValue<typeof ID_AUTH>;
