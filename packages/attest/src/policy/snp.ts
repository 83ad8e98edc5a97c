/** The policy's section for SNP reports, raw or inside this system's evidence. */
import * as z from 'zod/mini';
import { SNP_PRODUCTS } from '../snp/tcb.js';
import { flag, hexList, integer } from './fields.js';

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

/** Schema of `snp`. */
export const snpSchema = z.strictObject({
  /** Accepted product lines; empty = any whose root is built in. */
  products: z._default(z.array(z.enum(SNP_PRODUCTS)), []),
  /** The VMPL that must have asked for a raw report. Nested evidence always needs 0. */
  vmpl: z._default(integer(3), 0),
  minTcb: tcbMinimum(),
  minCommittedTcb: tcbMinimum(),
  minCurrentTcb: tcbMinimum(),
  minLaunchTcb: tcbMinimum(),
  allowDebug: flag(),
  allowMigrationAgent: flag(),
  /** True refuses guests that may run with SMT siblings. */
  refuseSmt: flag(),
  minGuestSvn: z.optional(integer(0xffff_ffff)),
  /** Accepted measurements of a raw report; empty = not pinned. */
  launchDigest: hexList(48),
  hostData: hexList(32),
  idKeyDigest: hexList(48),
  authorKeyDigest: hexList(48),
  /** True fails evidence under AMD's roots when no revocation list is given. */
  requireRevocationList: flag(),
});
