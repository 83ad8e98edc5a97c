/** The policy's JSON Schema, for editors and other tools. Not part of the bundle: nothing else imports it. */
import * as z from 'zod/mini';
import { policySchema } from './index.js';

/** The schema of policy documents as they are written (draft 2020-12), without descriptions. */
export function policyJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(policySchema, { io: 'input' });
  return {
    $schema,
    title: 'Appraisal policy of attestation evidence, version 1',
    description:
      'Every field but version may be left out; the defaults are strict. Unknown fields are errors.',
    ...rest,
  };
}
