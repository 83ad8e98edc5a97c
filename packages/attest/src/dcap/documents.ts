/** Intel's signed documents: TCB info version 3 and enclave identity version 2 (PCS API v4). */
import * as z from 'zod/mini';
import { fromHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import { DCAP_STATUSES } from '../policy.js';

const bytesOf = (length: number) => z.string().check(z.regex(new RegExp(`^[0-9a-fA-F]{${2 * length}}$`)));
const svn = z.number().check(z.int(), z.minimum(0), z.maximum(0xffff));
const date = z.string().check(z.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/));
const status = z.enum(DCAP_STATUSES);
const advisories = z._default(z.array(z.string().check(z.maxLength(64))).check(z.maxLength(1024)), []);
const components = z
  .array(z.object({ svn: z.number().check(z.int(), z.minimum(0), z.maximum(255)) }))
  .check(z.length(16));
const svnLevels = z
  .array(z.object({ tcb: z.object({ isvsvn: svn }), tcbStatus: status, advisoryIDs: advisories }))
  .check(z.maxLength(256));

const tcbInfoSchema = z.object({
  id: z.enum(['SGX', 'TDX']),
  version: z.literal(3),
  issueDate: date,
  nextUpdate: date,
  fmspc: bytesOf(6),
  pceId: bytesOf(2),
  tcbType: z.literal(0),
  tcbEvaluationDataNumber: z.number(),
  tdxModule: z.optional(
    z.object({ mrsigner: bytesOf(48), attributes: bytesOf(8), attributesMask: bytesOf(8) }),
  ),
  tdxModuleIdentities: z.optional(
    z
      .array(
        z.object({
          id: z.string().check(z.maxLength(32)),
          mrsigner: bytesOf(48),
          attributes: bytesOf(8),
          attributesMask: bytesOf(8),
          tcbLevels: svnLevels,
        }),
      )
      .check(z.maxLength(256)),
  ),
  tcbLevels: z
    .array(
      z.object({
        tcb: z.object({
          sgxtcbcomponents: components,
          pcesvn: svn,
          tdxtcbcomponents: z.optional(components),
        }),
        tcbStatus: status,
        advisoryIDs: advisories,
      }),
    )
    .check(z.minLength(1), z.maxLength(1024)),
});

const identitySchema = z.object({
  id: z.enum(['QE', 'TD_QE', 'QVE']),
  version: z.literal(2),
  issueDate: date,
  nextUpdate: date,
  tcbEvaluationDataNumber: z.number(),
  miscselect: bytesOf(4),
  miscselectMask: bytesOf(4),
  attributes: bytesOf(16),
  attributesMask: bytesOf(16),
  mrsigner: bytesOf(32),
  isvprodid: svn,
  tcbLevels: svnLevels,
});

/** TCB info of one platform family. */
export type TcbInfo = z.output<typeof tcbInfoSchema>;
/** Identity of a quoting enclave. */
export type EnclaveIdentity = z.output<typeof identitySchema>;

/** A document with the bytes that Intel signed and the signature (r ‖ s). */
export interface SignedDocument<T> {
  readonly value: T;
  readonly signed: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
}

/**
 * The signature covers the document in the compact form that JSON.stringify gives, so verifying that form
 * proves exactly the value that was parsed.
 */
function readSigned<T>(
  file: Uint8Array,
  member: string,
  what: string,
  schema: {
    safeParse(value: unknown): { success: true; data: T } | { success: false; error: z.core.$ZodError };
  },
): SignedDocument<T> {
  const fail = (reason: string): never => {
    throw new AttestError('COLLATERAL_MALFORMED', `The ${what} ${reason}.`);
  };
  if (file.length > 1 << 20) return fail(`has ${file.length} bytes; 1048576 is the limit`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file));
  } catch {
    return fail('is no JSON');
  }
  if (typeof document !== 'object' || document === null) return fail('is no JSON object');
  const { [member]: body, signature } = document as Record<string, unknown>;
  const raw = typeof signature === 'string' ? fromHex(signature) : null;
  if (raw === null || raw.length !== 64) return fail('has no signature of 64 bytes');
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    return fail(
      `is not of the known version: ${[member, ...issue.path].map(String).join('.')}: ${issue.message}`,
    );
  }
  return { value: parsed.data, signed: new TextEncoder().encode(JSON.stringify(body)), signature: raw };
}

/** Reads `{"tcbInfo":{…},"signature":"…"}` as the PCS serves it. @throws AttestError COLLATERAL_MALFORMED */
export function readTcbInfo(file: Uint8Array): SignedDocument<TcbInfo> {
  return readSigned(file, 'tcbInfo', 'TCB info', tcbInfoSchema);
}

/** Reads `{"enclaveIdentity":{…},"signature":"…"}`. @throws AttestError COLLATERAL_MALFORMED */
export function readIdentity(file: Uint8Array): SignedDocument<EnclaveIdentity> {
  return readSigned(file, 'enclaveIdentity', 'QE identity', identitySchema);
}
