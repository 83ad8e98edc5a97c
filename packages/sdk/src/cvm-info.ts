/** What a confidential VM says about itself. */
import { z } from 'zod';
import { sdkError } from './errors.js';

const hex = z.string().regex(/^[0-9a-f]*$/);

const infoSchema = z.looseObject({
  /** SHA-384 launch digest of the machine. */
  launchDigest: hex,
  /** SHA-256 of the root's SubjectPublicKeyInfo: what a verifier pins. */
  rootFingerprint: hex,
  isolation: z.enum(['same-user', 'separate-user', 'sev-snp']),
  components: z.array(z.looseObject({ name: z.string(), sha384: hex })).max(64),
});

const enclaveSchema = z.looseObject({});

/** Launch digest, fingerprint of the software root, isolation and components; further fields as the cvm gives them. */
export type CvmInfo = z.output<typeof infoSchema>;

/** One enclave of `cvm.ps()`, as the cvm describes it. */
export type CvmProcess = Record<string, unknown>;

/** @throws CVM_REPLY_INVALID when the reply has another shape */
export function parseInfo(value: unknown): CvmInfo {
  const result = infoSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw sdkError(
    'CVM_REPLY_INVALID',
    `the confidential VM's info has a bad field ${issue.path.join('.')}: ${issue.message}`,
  );
}

/** @throws CVM_REPLY_INVALID */
export function parseProcesses(value: unknown): CvmProcess[] {
  const result = z.array(enclaveSchema).max(65_536).safeParse(value);
  if (result.success) return result.data;
  throw sdkError('CVM_REPLY_INVALID', "the confidential VM's list of enclaves is malformed");
}
