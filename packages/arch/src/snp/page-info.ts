/** PAGE_INFO of the launch digest. Source: AMD 56860, "SNP_LAUNCH_UPDATE", "PAGE_INFO Structure". */
import { bytes, u8, u16, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** PAGE_INFO (0x70 bytes). The launch digest is the chain SHA-384(PAGE_INFO). */
export const PAGE_INFO = struct('PAGE_INFO', 0x70, {
  DIGEST_CUR: at(0x00, bytes(48)),
  CONTENTS: at(0x30, bytes(48)),
  LENGTH: at(0x60, u16),
  PAGE_TYPE: at(0x62, u8),
  IMI_PAGE: at(0x63, u8),
  VMPL3_PERMS: at(0x64, u8),
  VMPL2_PERMS: at(0x65, u8),
  VMPL1_PERMS: at(0x66, u8),
  GPA: at(0x68, u64),
});
/** Decoded {@link PAGE_INFO}. */
export type PageInfo = StructValue<typeof PAGE_INFO>;

/** PAGE_TYPE of SNP_LAUNCH_UPDATE. */
export const SNP_PAGE_TYPE = Object.freeze({
  NORMAL: 1,
  VMSA: 2,
  ZERO: 3,
  UNMEASURED: 4,
  SECRETS: 5,
  CPUID: 6,
} as const);

/** The gPA that hypervisors use for VMSA pages in the launch digest. */
export const SNP_VMSA_GPA = 0xffff_ffff_f000n;
