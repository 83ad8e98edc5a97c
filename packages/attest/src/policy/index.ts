/** The appraisal policy: one JSON document, version 1, strict in what it accepts and in what it defaults to. */
import * as z from 'zod/mini';
import { AttestError } from '../errors.js';
import { dcapSchema } from './dcap.js';
import { nestedSchema } from './nested.js';
import { repeatedMember } from './repeated.js';
import { snpSchema } from './snp.js';

export { DCAP_STATUSES } from './dcap.js';
export { ISOLATIONS, type Isolation } from './nested.js';

/** Longest text of a policy that is read, in characters. */
export const MAX_POLICY_LENGTH = 1 << 20;

/** Schema of the whole document; `policy.schema.json` is made of it. */
export const policySchema = z.strictObject({
  version: z.literal(1),
  nested: z.optional(nestedSchema),
  snp: z.optional(snpSchema),
  dcap: z.optional(dcapSchema),
});

type Unchanged<T> = T extends readonly (infer U)[]
  ? readonly Unchanged<U>[]
  : T extends object
    ? { readonly [K in keyof T]: Unchanged<T[K]> }
    : T;

/** A policy as written; every field but `version` may be left out. */
export type PolicyDocument = Unchanged<z.input<typeof policySchema>>;

/** A checked policy with every default filled in. */
export interface Policy {
  readonly version: 1;
  readonly nested: z.output<typeof nestedSchema>;
  readonly snp: z.output<typeof snpSchema>;
  readonly dcap: z.output<typeof dcapSchema>;
}

function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path)
    text += typeof part === 'number' ? `[${part}]` : `${text ? '.' : ''}${String(part)}`;
  return text;
}

/**
 * Checks a policy document (a parsed JSON value) and fills in the strict defaults.
 * @throws AttestError POLICY_INVALID naming the path of the first offending field
 */
export function parsePolicy(document: unknown): Policy {
  const result = policySchema.safeParse(document);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const path = pathText(unknown === undefined ? issue.path : [...issue.path, unknown]);
    const where = path === '' ? 'The policy' : `The policy field '${path}'`;
    const reason = unknown === undefined ? `is not valid: ${issue.message}` : 'is not known';
    throw new AttestError('POLICY_INVALID', `${where} ${reason}.`, {
      advice: 'Correct or remove that field: a policy says nothing that is not understood.',
    });
  }
  const { nested, snp, dcap } = result.data;
  return {
    version: 1,
    nested: nested ?? nestedSchema.parse({}),
    snp: snp ?? snpSchema.parse({}),
    dcap: dcap ?? dcapSchema.parse({}),
  };
}

/**
 * Reads a policy from JSON text. A member that is there twice is refused: JSON readers differ in which one they take.
 * @throws AttestError POLICY_INVALID
 */
export function parsePolicyText(text: string): Policy {
  if (text.length > MAX_POLICY_LENGTH) {
    throw new AttestError(
      'POLICY_INVALID',
      `The policy has ${text.length} characters; ${MAX_POLICY_LENGTH} is the limit.`,
    );
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new AttestError('POLICY_INVALID', `The policy is no JSON: ${(cause as Error).message}.`, { cause });
  }
  const twice = repeatedMember(text);
  if (twice !== null) {
    throw new AttestError('POLICY_INVALID', `The policy names '${twice}' twice in one object.`, {
      advice: 'Keep the one that is meant.',
    });
  }
  return parsePolicy(document);
}
