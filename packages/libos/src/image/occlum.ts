/**
 * Occlum.json, as far as it means the same here. Source: Occlum's etc/template/Occlum.json and its documentation of it
 * (docs/Occlum_Configuration.md). What means something else is refused; what has no counterpart is left alone, and told.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { libosError } from '../errors.js';
import type { MountPlace } from './collect.js';
import { type ImageSpec, issuesOf, parseSize, readText } from './spec.js';

const MIN_HEAP = 32 * 2 ** 20;
const size = z.union([z.string(), z.strictObject({ init: z.string(), max: z.string() })]);
const schema = z.strictObject({
  resource_limits: z
    .strictObject({
      user_space_size: size.optional(),
      user_space_max_size: z.string().optional(),
      kernel_space_heap_size: size.optional(),
      kernel_space_heap_max_size: z.string().optional(),
      kernel_space_stack_size: z.string().optional(),
      max_num_of_threads: z.number().int().min(1).optional(),
      init_num_of_threads: z.number().int().min(1).optional(),
    })
    .optional(),
  process: z
    .strictObject({
      default_stack_size: z.string().optional(),
      default_heap_size: z.string().optional(),
      default_mmap_size: z.string().optional(),
    })
    .optional(),
  entry_points: z.array(z.string()).optional(),
  env: z
    .strictObject({ default: z.array(z.string()).optional(), untrusted: z.array(z.string()).optional() })
    .optional(),
  metadata: z
    .strictObject({
      product_id: z.number().int().optional(),
      version_number: z.number().int().optional(),
      debuggable: z.boolean().optional(),
      enable_kss: z.boolean().optional(),
      family_id: z.unknown().optional(),
      ext_prod_id: z.unknown().optional(),
    })
    .optional(),
  feature: z.record(z.string(), z.unknown()).optional(),
  mount: z
    .array(
      z.strictObject({
        target: z.string(),
        type: z.string(),
        source: z.string().optional(),
        options: z.record(z.string(), z.unknown()).optional(),
      }),
    )
    .optional(),
});
type Occlum = z.infer<typeof schema>;

/** A specification, and what of the file has no counterpart. */
export interface OcclumSpec {
  readonly spec: ImageSpec;
  /** Folders that programs may be started from. */
  readonly entryPoints: readonly string[];
  /** `key: why`, of what is left alone. */
  readonly ignored: readonly string[];
}

function refuse(file: string, what: string, advice: string): never {
  throw libosError('OCCLUM_UNSUPPORTED', `${file} ${what}`, { advice });
}

/** Sizes of Occlum: the larger of `init` and `max` is the limit. */
function bytesOf(file: string, key: string, value: z.infer<typeof size> | undefined): number | undefined {
  if (value === undefined) return undefined;
  const text = typeof value === 'string' ? value : value.max;
  return parseSize(text) ?? refuse(file, `has "${text}" for ${key}, which is no size`, 'Write 256MB or so.');
}

/** Mounts whose meaning is what every program has here anyway. */
function readMounts(file: string, { mount = [] }: Occlum, ignored: string[]): MountPlace[] {
  const places: MountPlace[] = [];
  for (const { target, type, source } of mount)
    switch (type) {
      case 'unionfs':
      case 'sefs':
      case 'async_sfs':
        if (target !== '/')
          refuse(file, `mounts ${type} at ${target}`, 'Only / is one here; put its files there with --copy.');
        if (type === 'async_sfs') ignored.push(`mount ${target}: no file system that stays`);
        break;
      case 'ramfs':
        if (target !== '/tmp' && target !== '/dev/shm')
          ignored.push(`mount ${target}: /tmp and /dev/shm are in memory`);
        break;
      case 'procfs':
      case 'devfs':
        break;
      case 'hostfs':
        places.push({ path: target, writable: true });
        ignored.push(
          `mount ${target} of ${source ?? '.'}: whoever runs it says which folder (nsgx exec --mount)`,
        );
        break;
      default:
        refuse(file, `mounts ${type} at ${target}, which is unknown`, 'Leave this mount out.');
    }
  return places;
}

function readIgnored(occlum: Occlum): string[] {
  const { resource_limits: limits, process, metadata, feature } = occlum;
  const ignored: string[] = [];
  const not = (given: unknown, key: string, why: string) => {
    if (given !== undefined) ignored.push(`${key}: ${why}`);
  };
  not(limits?.kernel_space_stack_size, 'resource_limits.kernel_space_stack_size', 'fixed here');
  not(
    limits?.init_num_of_threads,
    'resource_limits.init_num_of_threads',
    'threads come when they are needed',
  );
  not(limits?.max_num_of_threads, 'resource_limits.max_num_of_threads', 'always 63 here');
  not(process?.default_heap_size, 'process.default_heap_size', 'brk and mmap share the memory');
  not(process?.default_mmap_size, 'process.default_mmap_size', 'brk and mmap share the memory');
  not(metadata?.family_id, 'metadata.family_id', 'no KSS');
  not(metadata?.ext_prod_id, 'metadata.ext_prod_id', 'no KSS');
  if (metadata?.enable_kss === true) ignored.push('metadata.enable_kss: no KSS');
  for (const key of Object.keys(feature ?? {})) ignored.push(`feature.${key}: chosen by the machine`);
  return ignored;
}

/**
 * Reads Occlum.json; a folder `image` beside it is the root, as Occlum has it.
 * @throws SPEC_INVALID for what is no such file, OCCLUM_UNSUPPORTED for what means something else here
 */
export function readOcclum(file: string): OcclumSpec {
  let document: unknown;
  try {
    document = JSON.parse(readText(file));
  } catch (cause) {
    if (cause instanceof SyntaxError)
      throw libosError('SPEC_INVALID', `${file} is no JSON: ${cause.message}`, {
        cause,
        advice: 'Correct it.',
      });
    throw cause;
  }
  const found = schema.safeParse(document);
  if (!found.success)
    throw libosError('SPEC_INVALID', `${file} is no Occlum.json: ${issuesOf(found.error)}`, {
      advice: 'Leave out what Occlum does not know.',
    });
  const occlum = found.data;
  const { resource_limits: limits, process, env, metadata } = occlum;
  const ignored = readIgnored(occlum);
  const mounts = readMounts(file, occlum, ignored);
  const image = join(dirname(resolve(file)), 'image');
  const memory = limits?.user_space_max_size ?? limits?.user_space_size;
  const heap = limits?.kernel_space_heap_max_size ?? limits?.kernel_space_heap_size;
  return {
    spec: {
      copy: [],
      packages: [],
      ...(existsSync(image) ? { root: image } : {}),
      ...(mounts.length > 0 ? { mount: mounts } : {}),
      ...defined('memory', bytesOf(file, 'resource_limits.user_space_size', memory)),
      ...defined('files', heapOf(bytesOf(file, 'resource_limits.kernel_space_heap_size', heap))),
      ...defined('stack', bytesOf(file, 'process.default_stack_size', process?.default_stack_size)),
      ...defined('productId', metadata?.product_id),
      ...defined('svn', metadata?.version_number),
      ...defined('debug', metadata?.debuggable),
      environment: { set: env?.default ?? [], pass: env?.untrusted ?? [] },
    },
    entryPoints: occlum.entry_points ?? [],
    ignored,
  };
}

/** Files that programs write are in the kernel's memory here, so what is enough for Occlum may be too little. */
function heapOf(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : Math.max(bytes, MIN_HEAP);
}

function defined<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
