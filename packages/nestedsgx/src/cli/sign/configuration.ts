import { ATTRIBUTES_DEBUG, ATTRIBUTES_MODE64BIT, NsgxError, XFRM_LEGACY } from '@nestedsgx/arch';
import { DEFAULT_ATTRIBUTES_MASK, type SignOptions } from '@nestedsgx/image';
import { z } from 'zod';
import { bytesFromHex, readLimited } from '../files.js';

const CONFIGURATION_LIMIT = 64 * 1024;
const word = z.string().regex(/^0x[0-9a-f]{1,16}$/i, 'must be a hexadecimal number such as 0x4');

const schema = z.strictObject({
  isvProdId: z.number().int().min(0).max(0xffff).optional(),
  isvSvn: z.number().int().min(0).max(0xffff).optional(),
  /** False forbids launching this enclave as a debug enclave. */
  debug: z.boolean().optional(),
  attributes: z.strictObject({ flags: word, xfrm: word }).optional(),
  attributesMask: z.strictObject({ flags: word, xfrm: word }).optional(),
  miscselect: z.number().int().min(0).max(0xffff_ffff).optional(),
  miscmask: z.number().int().min(0).max(0xffff_ffff).optional(),
  swdefined: z.number().int().min(0).max(0xffff_ffff).optional(),
  isvFamilyId: z.string().optional(),
  isvExtProdId: z.string().optional(),
});

/**
 * Reads a signing configuration.
 * @param path JSON file; undefined gives the defaults
 * @throws NsgxError SIGN_CONFIGURATION naming the field
 */
export function readSigningConfiguration(path: string | undefined): SignOptions {
  if (path === undefined) return {};
  let document: unknown;
  try {
    document = JSON.parse(
      new TextDecoder().decode(readLimited(path, CONFIGURATION_LIMIT, 'signing configuration')),
    );
  } catch (cause) {
    if (cause instanceof NsgxError) throw cause;
    throw new NsgxError('SIGN_CONFIGURATION', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const result = schema.safeParse(document);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new NsgxError(
      'SIGN_CONFIGURATION',
      `${path}: field ${issue?.path.join('.') || '(top)'}: ${issue?.message}`,
    );
  }
  const { debug, attributes, attributesMask, isvFamilyId, isvExtProdId, ...numbers } = result.data;
  const flags = attributes === undefined ? ATTRIBUTES_MODE64BIT : BigInt(attributes.flags);
  const mask = words(attributesMask) ?? DEFAULT_ATTRIBUTES_MASK;
  return {
    ...numbers,
    attributes: { FLAGS: flags, XFRM: attributes === undefined ? XFRM_LEGACY : BigInt(attributes.xfrm) },
    attributesMask: debug === false ? { ...mask, FLAGS: mask.FLAGS | ATTRIBUTES_DEBUG } : mask,
    isvFamilyId: isvFamilyId === undefined ? undefined : bytesFromHex(isvFamilyId, 'isvFamilyId', 16),
    isvExtProdId: isvExtProdId === undefined ? undefined : bytesFromHex(isvExtProdId, 'isvExtProdId', 16),
  };
}

function words(
  value: { flags: string; xfrm: string } | undefined,
): { FLAGS: bigint; XFRM: bigint } | undefined {
  return value === undefined ? undefined : { FLAGS: BigInt(value.flags), XFRM: BigInt(value.xfrm) };
}
