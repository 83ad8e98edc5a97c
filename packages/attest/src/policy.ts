/** The appraisal policy: one JSON document, version 1, strict in what it accepts and in what it defaults to. */
import * as z from 'zod/mini';
import { AttestError } from './errors.js';
import { SNP_PRODUCTS } from './snp/tcb.js';

/** Deployments, weakest first; see the claim `isolation`. */
export const ISOLATIONS = ['same-user', 'separate-user', 'sev-snp'] as const;

/** How the machine under the monitor is kept from the host. */
export type Isolation = (typeof ISOLATIONS)[number];

/** Statuses of Intel's TCB evaluation other than UpToDate; each is refused unless named. */
export const DCAP_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const;

const MAX_LIST = 1024;

const hex = (bytes: number) =>
  z
    .string()
    .check(
      z.regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`, 'i'), `must be ${2 * bytes} hexadecimal digits`),
      z.toLowerCase(),
    );
const hexList = (bytes: number) => z._default(z.array(hex(bytes)).check(z.maxLength(MAX_LIST)), []);
const flag = () => z._default(z.boolean(), false);
const integer = (limit: number) => z.number().check(z.int(), z.minimum(0), z.maximum(limit));

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

const nestedSchema = z.strictObject({
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

const snpSchema = z.strictObject({
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

const dcapSchema = z.strictObject({
  acceptStatus: z._default(z.array(z.enum(DCAP_STATUSES)), []),
  acceptAdvisories: z._default(
    z.array(z.string().check(z.regex(/^[A-Za-z0-9-]{1,64}$/, 'must be an advisory id'))),
    [],
  ),
  mrenclave: hexList(32),
  mrsigner: hexList(32),
  mrtd: hexList(48),
  isvProdId: z.optional(integer(0xffff)),
  minIsvSvn: z.optional(integer(0xffff)),
  allowDebug: flag(),
});

const schema = z.strictObject({
  version: z.literal(1),
  nested: z.optional(nestedSchema),
  snp: z.optional(snpSchema),
  dcap: z.optional(dcapSchema),
});

/** A policy as written; every field but `version` may be left out. */
export type PolicyDocument = z.input<typeof schema>;

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
  const result = schema.safeParse(document);
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

/** Reads a policy from JSON text. @throws AttestError POLICY_INVALID */
export function parsePolicyText(text: string): Policy {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new AttestError('POLICY_INVALID', `The policy is no JSON: ${(cause as Error).message}.`, { cause });
  }
  return parsePolicy(document);
}
