/** What is told about an enclave in `NAME.compat.json`: its EDL file, the calls to make and what should come of them. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { CallDescription, EdlDescription, ParameterDescription } from '@nestedsgx/edl';
import { z } from 'zod';
import { enclaveName } from '../edl-json/find-edl.js';
import { compatError } from './errors.js';

const seconds = z.number().positive().max(3600);

const callSchema = z.strictObject({
  name: z.string().min(1),
  /** JSON values as `nsgx run` takes them; `{"from": "ID.PATH"}` is what an earlier call gave. */
  args: z.array(z.unknown()).default([]),
  /** Name under which later calls find the result; the function's name without one. */
  id: z.string().optional(),
  /** Result, members of `out`, a part of what OCALLs printed, or the code or status name of the error. */
  expect: z
    .strictObject({
      result: z.unknown().optional(),
      out: z.record(z.string(), z.unknown()).optional(),
      prints: z.string().optional(),
      error: z.string().optional(),
    })
    .optional(),
  /** Makes the call that many times at once, each on a thread of its own. */
  threads: z.number().int().min(1).max(64).default(1),
  seconds: seconds.optional(),
});

const schema = z.strictObject({
  /** What the enclave is and where it comes from. */
  title: z.string().max(200).optional(),
  note: z.string().max(1000).optional(),
  /** The EDL file and folders of imported ones, relative to this file. */
  edl: z.string().optional(),
  edlPath: z.array(z.string()).default([]),
  /** Types that only C headers know, as `describeEdl` takes them. */
  types: z.record(z.string(), z.unknown()).default({}),
  /** Macros of the EDL file that C knew when the enclave was built. */
  constants: z.record(z.string(), z.number()).default({}),
  debug: z.boolean().optional(),
  provision: z.boolean().optional(),
  /** Gives the enclave a new, empty folder for protected files. */
  files: z.boolean().default(false),
  /** Answers of OCALLs by name; zeros without one. */
  ocalls: z.record(z.string(), z.unknown()).default({}),
  /** Calls in order; without the list all that can be made without knowing the enclave. */
  calls: z.array(callSchema).max(1000).optional(),
});

/** Contents of a `NAME.compat.json`. */
export type Plan = z.output<typeof schema>;
/** One call of it. */
export type PlannedCall = z.output<typeof callSchema>;

/**
 * The plan beside an enclave: `NAME.compat.json`, for `NAME.VARIANT.signed.so` also that of `NAME`.
 * @throws COMPAT_PLAN
 */
export function readPlan(path: string): Plan {
  for (let name = enclaveName(path); ; name = name.slice(0, name.lastIndexOf('.'))) {
    const file = join(dirname(path), `${name}.compat.json`);
    if (existsSync(file)) return parsePlan(file);
    if (!name.includes('.')) return schema.parse({});
  }
}

function parsePlan(file: string): Plan {
  let json: unknown;
  try {
    if (statSync(file).size > 2 ** 20) throw new Error('the file has more than 1 MiB');
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw compatError('COMPAT_PLAN', `${basename(file)} is no JSON: ${(cause as Error).message}`, cause);
  }
  const result = schema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    const where = issue?.path.length ? ` at ${issue.path.join('.')}` : '';
    throw compatError('COMPAT_PLAN', `${basename(file)} is not usable${where}: ${issue?.message}`);
  }
  const from = (path: string) => resolve(dirname(file), path);
  const { edl, edlPath, ...rest } = result.data;
  return { ...rest, edl: edl === undefined ? undefined : from(edl), edlPath: edlPath.map(from) };
}

/** Why a function is not called by itself, or the arguments to try it with. */
export type Guess = { readonly args: readonly unknown[] } | { readonly why: string };

/**
 * Arguments for a function of which nothing is known: zeros, empty text, buffers as short as the declaration allows.
 * Functions that take an address as it is are left alone, since any would make them fault.
 */
export function guessArguments(call: CallDescription): Guess {
  if (call.isPublic === false) return { why: 'private' };
  if (call.unavailable !== undefined) return { why: call.unavailable };
  const raw = call.parameters.find(({ pass }) => pass === 'address');
  if (raw !== undefined) return { why: `${raw.name} is a user_check address` };
  const deep = call.parameters.find((p) => p.pass === 'buffer' && p.deep);
  if (deep !== undefined) return { why: `${deep.name} is copied deeply` };
  return { args: call.parameters.map(guess) };
}

function guess(p: ParameterDescription): unknown {
  if (p.pass === 'value') return zeroJson(p.type);
  if (p.pass === 'address') return null;
  if (p.direction === 'out') return '-';
  if (p.pass !== 'buffer') return '';
  const { unit, count } = p.target;
  const length = typeof unit === 'number' && typeof count === 'number' ? unit * count : 0;
  return { bytes: length };
}

function zeroJson(type: Extract<ParameterDescription, { pass: 'value' }>['type']): unknown {
  switch (type.kind) {
    case 'boolean':
      return false;
    case 'pointer':
      return null;
    case 'integer':
    case 'float':
      return 0;
    case 'bytes':
      return { bytes: type.size };
    case 'array':
      return Array.from({ length: type.count }, () => zeroJson(type.element));
    case 'struct':
      return Object.fromEntries(type.members.map(({ name, type: of }) => [name, zeroJson(of)]));
  }
}

/** The calls of an enclave: those of its plan, or every one that can be tried; and what is left out, with the reason. */
export function callsOf(
  plan: Plan,
  edl: EdlDescription,
): { calls: PlannedCall[]; leftOut: { name: string; why: string }[] } {
  if (plan.calls !== undefined) return { calls: plan.calls, leftOut: [] };
  const calls: PlannedCall[] = [];
  const leftOut: { name: string; why: string }[] = [];
  for (const ecall of edl.ecalls) {
    const found = guessArguments(ecall);
    if ('why' in found) leftOut.push({ name: ecall.name, why: found.why });
    else calls.push({ name: ecall.name, args: [...found.args], threads: 1 });
  }
  return { calls, leftOut };
}
