/** The policy's section for SNP reports, raw or inside this system's evidence. */
import * as z from 'zod/mini';
import { SNP_PRODUCTS } from '../snp/tcb.js';
import { flag, hex, hexList, integer, MAX_LIST } from './fields.js';

const tcbMinimum = () =>
  z._default(
    z.strictObject({
      fmc: z.optional(integer(255)),
      bootloader: z.optional(integer(255)),
      tee: z.optional(integer(255)),
      snp: z.optional(integer(255)),
      microcode: z.optional(integer(255)),
    }),
    {},
  );

const BYTE = '(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)';
const version = (pattern: RegExp, what: string) => z.optional(z.string().check(z.regex(pattern, what)));
const firmware = () =>
  version(new RegExp(`^${BYTE}\\.${BYTE}(?:\\.${BYTE})?$`), 'must be major.minor or major.minor.build');

/** What the platform (PLATFORM_INFO) must or must not have; all off by default. */
const platformSchema = z.strictObject({
  refuseSmt: flag(),
  refuseTsme: flag(),
  requireEcc: flag(),
  requireRaplDisabled: flag(),
  requireCiphertextHiding: flag(),
  /** Memory was checked for aliased addresses (BadRAM). */
  requireAliasCheck: flag(),
  refuseTio: flag(),
});

/** Schema of `snp`. */
export const snpSchema = z.strictObject({
  /** Accepted product lines; empty = any whose root is built in. */
  products: z._default(z.array(z.enum(SNP_PRODUCTS)), []),
  /** Oldest version of reports, 2 to 5. */
  minReportVersion: z.optional(integer(5)),
  /** Accepted kinds of signing key; empty = VCEK and VLEK. */
  signingKeys: z._default(z.array(z.enum(['VCEK', 'VLEK'])), []),
  /** Accepted providers of VLEKs, as their certificates name them; a list refuses VCEKs. */
  cspId: z._default(
    z.array(z.string().check(z.minLength(1), z.maxLength(256))).check(z.maxLength(MAX_LIST)),
    [],
  ),
  /** Accepted chip ids (64 bytes; Turin's 8 are zero padded). */
  chipId: hexList(64),
  /** True refuses reports in which the host masks the chip id. */
  refuseMaskedChipId: flag(),
  /** The VMPL that must have asked for a raw report. Nested evidence always needs 0. */
  vmpl: z._default(integer(3), 0),
  minTcb: tcbMinimum(),
  minCommittedTcb: tcbMinimum(),
  minCurrentTcb: tcbMinimum(),
  minLaunchTcb: tcbMinimum(),
  /** Oldest firmware of the security processor, for example `1.55` or `1.55.29`. */
  minFirmware: firmware(),
  minCommittedFirmware: firmware(),
  /** True refuses firmware that can still be rolled back: current and committed versions differ. */
  refuseProvisionalFirmware: flag(),
  /** Bits that the mitigation vectors of a version 5 report must have (16 digits). */
  launchMitigations: z.optional(hex(8)),
  currentMitigations: z.optional(hex(8)),
  /** Lowest ABI version that the guest policy demands of its host, for example `0.31`. */
  minAbi: version(new RegExp(`^${BYTE}\\.${BYTE}$`), 'must be major.minor'),
  allowDebug: flag(),
  allowMigrationAgent: flag(),
  /** True accepts guests whose memory may lie behind CXL. */
  allowCxl: flag(),
  /** True refuses guests that may run with SMT siblings. */
  refuseSmt: flag(),
  requireSingleSocket: flag(),
  requireAes256Xts: flag(),
  requireRaplDisabled: flag(),
  requireCiphertextHiding: flag(),
  requirePageSwapDisabled: flag(),
  platform: z.prefault(platformSchema, {}),
  minGuestSvn: z.optional(integer(0xffff_ffff)),
  /** Accepted measurements of a raw report. Empty: not pinned. */
  launchDigest: hexList(48),
  /**
   * False refuses raw reports whose measurement nothing pins. As in other verifiers of vendors' evidence, a report says by
   * itself only that a genuine processor made it; what runs there is for the caller to pin.
   */
  allowAnyMeasurement: flag(true),
  hostData: hexList(32),
  idKeyDigest: hexList(48),
  authorKeyDigest: hexList(48),
  /** True refuses guests whose ID key no author key signed. */
  requireAuthorKey: flag(),
  familyId: hexList(16),
  imageId: hexList(16),
  reportId: hexList(32),
  reportIdMa: hexList(32),
  /** True fails evidence under AMD's roots when no revocation list is given. */
  requireRevocationList: flag(),
});
