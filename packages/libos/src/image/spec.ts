/** What an image is to be made of, as a file says it: YAML or JSON. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { libosError } from '../errors.js';
import type { MountPlace } from './collect.js';
import { KEY_NAME, type StoreKey } from './store-key.js';

const LIMIT = 2 ** 20;
const UNITS: Readonly<Record<string, number>> = Object.freeze({ K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 });

/** Bytes from a number of them, or a text such as `64M`, `1GB`, `512KiB`; undefined for what is no size. */
export function parseSize(text: string): number | undefined {
  const found = /^(\d+)\s*(?:([KMG])(?:i?B)?|B)?$/i.exec(text.trim());
  if (found === null) return undefined;
  const bytes = Number(found[1]) * (UNITS[found[2]?.toUpperCase() ?? ''] ?? 1);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}

/** Fewer bytes than that are never meant. */
const LEAST = 16 * 2 ** 10;

/** What is wrong with a size that somebody wrote, as the end of a sentence; undefined if nothing is. */
export function sizeFault(text: string): string | undefined {
  const bytes = parseSize(text);
  if (bytes === undefined) return `is a size such as 64M, not "${text}"`;
  if (bytes >= LEAST) return undefined;
  const more = /^\d+$/.test(text.trim()) ? `: did you mean ${text.trim()}M?` : '';
  return `cannot be ${bytes} bytes${more}`;
}

const size = z.union([z.number(), z.string()]).transform((value, context) => {
  const fault = sizeFault(`${value}`);
  if (fault === undefined) return parseSize(`${value}`)!;
  context.addIssue({ code: 'custom', message: fault });
  return z.NEVER;
});
const path = z.string().min(1);

const storeKey = z.union([
  z.enum(['mrenclave', 'mrsigner']),
  z.strictObject({
    provisioned: z.string().regex(KEY_NAME),
    server: z.string(),
    address: z.string().optional(),
  }),
]);

const schema = z.strictObject({
  version: z.literal(1).optional(),
  entry: path.optional(),
  copy: z.array(z.union([path, z.strictObject({ from: path, to: path })])).optional(),
  packages: z.array(path).optional(),
  root: path.optional(),
  arguments: z
    .strictObject({
      policy: z.enum(['any', 'fixed', 'prefix']).optional(),
      values: z.array(z.string()).optional(),
    })
    .optional(),
  environment: z
    .union([
      z.literal('any'),
      z.strictObject({ set: z.array(z.string()).optional(), pass: z.array(z.string()).optional() }),
    ])
    .optional(),
  memory: size.optional(),
  files: size.optional(),
  stack: size.optional(),
  jit: z.boolean().optional(),
  hostSignals: z.boolean().optional(),
  store: z.strictObject({ path, key: storeKey.optional() }).optional(),
  mount: z.array(z.strictObject({ path, writable: z.boolean().default(false) })).optional(),
  start: path.optional(),
  productId: z.number().int().min(0).max(65535).optional(),
  svn: z.number().int().min(0).max(65535).optional(),
  debug: z.boolean().optional(),
});

/** A file or folder, and where it goes in the root. */
export interface Copy {
  readonly from: string;
  readonly to: string;
}

/** What an image is made of. Sizes in bytes; paths of this machine are absolute. */
export interface ImageSpec {
  /** Path of the program in the root. */
  readonly entry?: string;
  readonly copy: readonly Copy[];
  /** Installed packages, or `.deb` files. */
  readonly packages: readonly string[];
  /** A folder that is the root, in the place of this machine. */
  readonly root?: string;
  readonly arguments?: { readonly policy?: 'any' | 'fixed' | 'prefix'; readonly values?: readonly string[] };
  readonly environment?: 'any' | { readonly set?: readonly string[]; readonly pass?: readonly string[] };
  readonly memory?: number;
  readonly files?: number;
  readonly stack?: number;
  readonly jit?: boolean;
  /** Whether the host may send signals to the program; yes. */
  readonly hostSignals?: boolean;
  /** A folder whose files stay, and who can read them. */
  readonly store?: { readonly path: string; readonly key?: StoreKey };
  /** Places for folders of the host, and whether the program may change what is there. */
  readonly mount?: readonly MountPlace[];
  /** The folder that the program starts in. */
  readonly start?: string;
  readonly productId?: number;
  readonly svn?: number;
  /** Whether it may be loaded for debugging; yes. */
  readonly debug?: boolean;
}

/** `SRC` or `SRC:DST`. */
export function parseCopy(text: string, folder = process.cwd()): Copy {
  const colon = text.indexOf(':');
  if (colon < 0) return { from: resolve(folder, text), to: resolve(folder, text) };
  return { from: resolve(folder, text.slice(0, colon)), to: resolve('/', text.slice(colon + 1)) };
}

/** The bytes of a small text. @throws SPEC_INVALID */
export function readText(file: string): string {
  try {
    if (statSync(file).size > LIMIT) throw new Error(`it has more than ${LIMIT} bytes`);
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw libosError('SPEC_INVALID', `${file} cannot be read: ${(cause as Error).message}`, {
      cause,
      advice: 'Check the path.',
    });
  }
}

/** What is wrong with a document, in one line. */
export function issuesOf(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`).join('; ');
}

/** Reads a specification (JSON is YAML too). Relative paths are those beside the file. @throws SPEC_INVALID */
export function readSpec(file: string): ImageSpec {
  const text = readText(file);
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 0 });
  } catch (cause) {
    throw libosError('SPEC_INVALID', `${file} is neither YAML nor JSON: ${(cause as Error).message}`, {
      cause,
      advice: 'Correct it.',
    });
  }
  const found = schema.safeParse(document);
  if (!found.success)
    throw libosError('SPEC_INVALID', `${file} is no description of an image: ${issuesOf(found.error)}`, {
      advice: 'Leave out or correct what is named.',
    });
  const { copy = [], packages = [], root, version: _, ...rest } = found.data;
  const folder = dirname(resolve(file));
  return {
    ...rest,
    copy: copy.map((item) =>
      typeof item === 'string'
        ? parseCopy(item, folder)
        : { from: resolve(folder, item.from), to: resolve('/', item.to) },
    ),
    packages: packages.map((name) => (name.includes('/') ? resolve(folder, name) : name)),
    ...(root === undefined ? {} : { root: resolve(folder, root) }),
  };
}

/** One specification upon another: lists are joined, all else is the upper one's where it says it. */
export function mergeSpecs(lower: ImageSpec, upper: ImageSpec): ImageSpec {
  const [below, above] = [lower.environment, upper.environment];
  const environment =
    below === 'any' || above === 'any'
      ? ('any' as const)
      : {
          set: overlay(below?.set, above?.set),
          pass: [...new Set([...(below?.pass ?? []), ...(above?.pass ?? [])])],
        };
  const said = Object.fromEntries(Object.entries(upper).filter(([, value]) => value !== undefined));
  return {
    ...lower,
    ...said,
    copy: [...lower.copy, ...upper.copy],
    packages: [...lower.packages, ...upper.packages],
    ...(lower.mount || upper.mount ? { mount: [...(lower.mount ?? []), ...(upper.mount ?? [])] } : {}),
    arguments: { ...lower.arguments, ...upper.arguments },
    environment,
  };
}

/** Variables of both; of a name in both the upper one. */
function overlay(lower: readonly string[] = [], upper: readonly string[] = []): string[] {
  const names = new Set(upper.map((text) => text.split('=', 1)[0]));
  return [...lower.filter((text) => !names.has(text.split('=', 1)[0])), ...upper];
}

/** Whether a program lies in one of the folders, or is one of the files, that it may be started from. */
export function isEntryPoint(entry: string, entryPoints: readonly string[]): boolean {
  return (
    entryPoints.length === 0 ||
    entryPoints.some((point) => entry === point || entry.startsWith(`${point.replace(/\/$/, '')}/`))
  );
}
