/** Which enclaves get which keys: names of keys, each with a policy of attestation. */
import { NsgxError } from '@nestedsgx/arch';
import { type Policy, type PolicyDocument, parsePolicy, repeatedMember } from '@nestedsgx/attest';

/** The document: `{ "version": 1, "keys": { NAME: POLICY } }`. */
export interface KeyRules {
  readonly version: 1;
  readonly keys: Readonly<Record<string, PolicyDocument>>;
}

const NAME = /^[A-Za-z0-9._-]{1,64}$/;

function invalid(what: string, cause?: unknown): NsgxError {
  return new NsgxError('KEY_RULES_INVALID', `The rules of the key server: ${what}`, {
    cause,
    advice: 'They are {"version": 1, "keys": {NAME: POLICY, ...}}; docs/ATTESTATION.md describes policies.',
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Checks rules. @throws KEY_RULES_INVALID naming the key whose policy is wrong */
export function parseRules(document: unknown): ReadonlyMap<string, Policy> {
  if (!isRecord(document) || document.version !== 1 || !isRecord(document.keys))
    throw invalid('version 1 and keys are not there.');
  const strange = Object.keys(document).find((name) => name !== 'version' && name !== 'keys');
  if (strange !== undefined) throw invalid(`'${strange}' is not known.`);
  const rules = new Map<string, Policy>();
  for (const [name, policy] of Object.entries(document.keys)) {
    if (!NAME.test(name)) throw invalid(`'${name}' is no name of a key.`);
    try {
      rules.set(name, parsePolicy(policy));
    } catch (cause) {
      throw invalid(`${name}: ${(cause as Error).message}`, cause);
    }
  }
  return rules;
}

/** The same from JSON text, in which nothing may be there twice. @throws KEY_RULES_INVALID */
export function parseRulesText(text: string): ReadonlyMap<string, Policy> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw invalid(`they are no JSON: ${(cause as Error).message}.`, cause);
  }
  const twice = repeatedMember(text);
  if (twice !== null) throw invalid(`'${twice}' is there twice in one object.`);
  return parseRules(document);
}
