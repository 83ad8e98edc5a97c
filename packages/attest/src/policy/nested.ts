/** The policy's section for this system's evidence. */
import * as z from 'zod/mini';
import { flag, hexList, integer } from './fields.js';

/** Deployments, weakest first; see the claim `isolation`. */
export const ISOLATIONS = ['same-user', 'separate-user', 'sev-snp'] as const;

/** How the machine under the monitor is kept from the host. */
export type Isolation = (typeof ISOLATIONS)[number];

/** Schema of `nested`. */
export const nestedSchema = z.strictObject({
  /** Accepted MRENCLAVE values; empty = not pinned. */
  mrenclave: hexList(32),
  /** Accepted MRSIGNER values; empty = not pinned. */
  mrsigner: hexList(32),
  isvProdId: z.optional(integer(0xffff)),
  minIsvSvn: z.optional(integer(0xffff)),
  allowDebug: flag(),
  /** Accepted launch digests of the confidential VM (its monitor); empty accepts none. */
  launchDigest: hexList(48),
  /** SHA-256 of the SubjectPublicKeyInfo of software machines' roots; empty accepts none. */
  softwareRoots: hexList(32),
  isolation: z._default(z.array(z.enum(ISOLATIONS)), ['separate-user', 'sev-snp']),
});
