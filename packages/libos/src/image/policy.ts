/**
 * What the host may say to a program: its arguments and environment. It is measured with the enclave, which holds the host
 * to it (native/src/policy.c); the same check here names what is wrong before anything is loaded. Little-endian:
 *
 *     u32 signature  u32 arguments (0 any, 1 fixed, 2 prefix)  u32 environment (0 any, 1 listed)
 *     u32 bytes of the arguments  u32 of the variables set  u32 of the names passed  then the three, strings that end in zero
 */
import { libosError } from '../errors.js';

const SIGNATURE = 0x3150534e;
const HEAD = 24;
const MAX_BYTES = 128 * 1024;
const ARGUMENTS = Object.freeze(['any', 'fixed', 'prefix'] as const);

/** `fixed`: exactly the image's; `prefix`: the image's, and more from the host. */
export type ArgumentPolicy = (typeof ARGUMENTS)[number];

/** Arguments and environment of an image. */
export interface ProgramPolicy {
  /** With the program's name as the first. `any` with values: what the program gets when the host gives none. */
  readonly arguments: { readonly policy: ArgumentPolicy; readonly values: readonly string[] };
  /** `any`, or variables that are set, and names that the host may give (`NAME`, or `PREFIX*`), also in place of a set one. */
  readonly environment: 'any' | { readonly set: readonly string[]; readonly pass: readonly string[] };
}

/** Strings that end in a zero byte each. */
export function zeroEnded(list: readonly string[]): Uint8Array {
  return new TextEncoder().encode(list.map((text) => `${text}\0`).join(''));
}

function refuse(message: string, advice: string): never {
  throw libosError('IMAGE_POLICY_INVALID', message, { advice });
}

/** The policy's bytes. @throws IMAGE_POLICY_INVALID for names, variables or arguments that cannot be */
export function encodePolicy(policy: ProgramPolicy): Uint8Array {
  const { arguments: given, environment } = policy;
  const { set, pass } = environment === 'any' ? { set: [], pass: [] } : environment;
  for (const text of [...given.values, ...set, ...pass])
    if (text.includes('\0')) refuse(`${JSON.stringify(text)} has a zero byte`, 'Leave it out.');
  for (const text of set)
    if (!/^[^=]+=/.test(text)) refuse(`"${text}" is no variable`, 'Give variables as NAME=VALUE.');
  for (const text of pass)
    if (!/^[^=*]+\*?$/.test(text) && text !== '*')
      refuse(`"${text}" is no name of a variable`, 'Give NAME, or PREFIX* for all that begin so.');
  if (given.policy !== 'any' && given.values.length === 0)
    refuse(`arguments are ${given.policy} but there are none`, 'Give at least the name of the program.');
  const parts = [given.values, set, pass].map(zeroEnded);
  const bytes = new Uint8Array(HEAD + parts.reduce((sum, part) => sum + part.length, 0));
  if (bytes.length > MAX_BYTES)
    refuse(`arguments and environment have ${bytes.length} bytes`, `Give at most ${MAX_BYTES}.`);
  const view = new DataView(bytes.buffer);
  const head = [SIGNATURE, ARGUMENTS.indexOf(given.policy), environment === 'any' ? 0 : 1];
  [...head, ...parts.map((part) => part.length)].forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  let at = HEAD;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Reads a policy. @throws APP_IMAGE_MALFORMED */
export function decodePolicy(bytes: Uint8Array): ProgramPolicy {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = bytes.length < HEAD ? [] : [0, 1, 2, 3, 4, 5].map((i) => view.getUint32(4 * i, true));
  const [signature, policy, listed, ...lengths] = words;
  const total = lengths.reduce((sum, length) => sum + length, HEAD);
  if (signature !== SIGNATURE || policy > 2 || listed > 1 || total > bytes.length)
    throw libosError('APP_IMAGE_MALFORMED', 'the policy of the image is damaged', {
      advice: 'Build the image again.',
    });
  let at = HEAD;
  const lists = lengths.map((length) => {
    const text = new TextDecoder().decode(bytes.subarray(at, at + length));
    at += length;
    return text.split('\0').slice(0, -1);
  });
  return {
    arguments: { policy: ARGUMENTS[policy], values: lists[0] },
    environment: listed === 0 ? 'any' : { set: lists[1], pass: lists[2] },
  };
}

function passes(name: string, pass: readonly string[]): boolean {
  return pass.some((text) => (text.endsWith('*') ? name.startsWith(text.slice(0, -1)) : text === name));
}

/** Whether the host may give this variable. */
export function maySet(policy: ProgramPolicy, name: string): boolean {
  return policy.environment === 'any' || passes(name, policy.environment.pass);
}

/**
 * Checks what a host is about to give.
 * @throws POLICY_REFUSED with what the image does not allow
 */
export function checkPolicy(
  policy: ProgramPolicy,
  argv: readonly string[],
  environment: readonly string[],
): void {
  const { values, policy: kind } = policy.arguments;
  const begins = values.every((value, i) => argv[i] === value);
  if (kind !== 'any' && (!begins || (kind === 'fixed' && argv.length !== values.length)))
    throw libosError(
      'POLICY_REFUSED',
      `the image has ${kind === 'fixed' ? 'fixed arguments' : 'arguments that stand before all others'}: ${values.join(' ')}`,
      { advice: 'Give none, or build the image with another --arg-policy.' },
    );
  for (const variable of environment) {
    const name = variable.split('=', 1)[0];
    if (!maySet(policy, name))
      throw libosError('POLICY_REFUSED', `the image does not let the host set ${name}`, {
        advice: `Build the image with --env ${name}.`,
      });
  }
}
