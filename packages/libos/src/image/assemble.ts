/** From a specification to a signed image. */
import { resolve } from 'node:path';
import { DEFAULT_ATTRIBUTES_MASK, type SignOptions } from '@nestedsgx/image';
import { type SigningKey, signImage } from '@nestedsgx/image/node';
import { libosError } from '../errors.js';
import { writeAppImage } from './app-write.js';
import { type BuiltProgram, buildProgramImage } from './build.js';
import { installedFiles, isKept, isPackageFile, Unpacked } from './debian.js';
import { Layers, listFolder } from './layers.js';
import type { ProgramPolicy } from './policy.js';
import type { ImageSpec } from './spec.js';

/** Variables that an image has or lets through where nothing else is said. */
const DEFAULT_SET = ['PATH=/usr/local/bin:/usr/bin:/bin', 'HOME=/'];
const DEFAULT_PASS = ['TERM', 'LANG', 'LC_*', 'TZ'];
/** SIGSTRUCT.DATE where SOURCE_DATE_EPOCH does not give one: the same inputs give the same bytes. */
const DATE = '20000101';

/** What belongs to a build beside what is built. */
export interface AssembleOptions {
  readonly key: string | Uint8Array | SigningKey;
  /** Folder where what was found in binaries is kept for the next time. */
  readonly cache?: string;
  /** Told of what was left out. */
  readonly onNote?: (text: string) => void;
  /** YYYYMMDD; from SOURCE_DATE_EPOCH, else a fixed one. */
  readonly date?: string;
}

/** A signed program. */
export interface Assembled {
  readonly program: BuiltProgram;
  readonly sigstruct: Uint8Array;
  readonly policy: ProgramPolicy;
}

function signingDate(): string {
  const epoch = process.env.SOURCE_DATE_EPOCH;
  if (epoch === undefined || !/^\d{1,11}$/.test(epoch)) return DATE;
  return new Date(Number(epoch) * 1000).toISOString().slice(0, 10).replaceAll('-', '');
}

/** Arguments and environment as a specification has them, or as is usual. */
export function policyOf(spec: ImageSpec, entry: string): ProgramPolicy {
  const { policy, values = [] } = spec.arguments ?? {};
  const environment = spec.environment ?? {};
  return {
    // Who names arguments means them, unless he says that they are a suggestion.
    arguments: { policy: policy ?? (values.length > 0 ? 'fixed' : 'any'), values: [entry, ...values] },
    environment:
      environment === 'any'
        ? 'any'
        : {
            set: environment.set ?? [],
            pass: environment.pass ?? [],
          },
  };
}

/** The usual environment, with what is given in front. */
export function withDefaults(spec: ImageSpec): ImageSpec {
  if (spec.environment === 'any') return spec;
  const { set = [], pass = [] } = spec.environment ?? {};
  const names = new Set(set.map((text) => text.split('=', 1)[0]));
  const usual = DEFAULT_SET.filter((text) => !names.has(text.split('=', 1)[0]));
  return {
    ...spec,
    environment: { set: [...set, ...usual], pass: [...new Set([...pass, ...DEFAULT_PASS])] },
  };
}

/** Where the files are, and which of them are taken along. */
function gather(spec: ImageSpec, unpacked: Unpacked): { layers: Layers; copy: string[]; along: string[] } {
  const along: string[] = [];
  for (const name of spec.packages)
    if (isPackageFile(name)) unpacked.add(resolve(name));
    else along.push(...installedFiles(name));
  for (const folder of unpacked.folders) along.push(...listFolder(folder).filter(isKept));
  if (spec.root !== undefined) along.push(...read(spec.root, () => listFolder(spec.root!)));
  const layers = new Layers([...unpacked.folders, spec.root ?? '/']);
  const copy: string[] = [];
  for (const { from, to } of spec.copy) {
    const paths = read(from, () => layers.copy(from, to));
    // What is named itself must be there; what lies in a folder is taken as far as it can be read.
    (layers.find(paths[0])?.kind === 'folder' ? along : copy).push(...paths);
  }
  return { layers, copy, along };
}

function read<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw libosError('PROGRAM_MISSING', `${path} cannot be read: ${(cause as Error).message}`, {
      cause,
      advice: 'Check the path.',
    });
  }
}

function signOptionsOf(spec: ImageSpec, base: SignOptions, date: string): SignOptions {
  return {
    ...base,
    date,
    isvProdId: spec.productId ?? 0,
    isvSvn: spec.svn ?? 0,
    ...(spec.debug === false
      ? { attributesMask: { ...DEFAULT_ATTRIBUTES_MASK, FLAGS: 0xffff_ffff_ffff_ffffn } }
      : {}),
  };
}

/**
 * Builds and signs the image of a program.
 * @throws ENTRY_REFUSED, PACKAGE_MISSING, IMAGE_POLICY_INVALID, the errors of `buildProgramImage` and `signImage`
 */
export function assembleImage(spec: ImageSpec, options: AssembleOptions): Assembled {
  const { entry } = spec;
  if (entry === undefined)
    throw libosError('ENTRY_REFUSED', 'no program is named', {
      advice: 'Give its path in the root with --entry.',
    });
  using unpacked = new Unpacked();
  const policy = policyOf(spec, entry);
  const program = buildProgramImage({
    program: entry,
    policy,
    ...gather(spec, unpacked),
    jit: spec.jit,
    hostSignals: spec.hostSignals,
    ...{ memory: spec.memory, files: spec.files, stack: spec.stack, store: spec.store },
    ...{ mounts: spec.mount, start: spec.start },
    ...{ cache: options.cache, onNote: options.onNote },
  });
  const signOptions = signOptionsOf(spec, program.signOptions, options.date ?? signingDate());
  return { program, policy, sigstruct: signImage(program.image, options.key, signOptions) };
}

/** Builds, signs and writes an image. @throws the errors of `assembleImage` and `writeAppImage` */
export function buildAppImage(path: string, spec: ImageSpec, options: AssembleOptions): Assembled {
  const assembled = assembleImage(spec, options);
  const { program, sigstruct } = assembled;
  const { rewritten, trapping } = program;
  const key = spec.store?.key;
  writeAppImage(path, program, sigstruct, {
    entry: spec.entry,
    rewritten,
    trapping,
    mounts: spec.mount ?? [],
    ...(typeof key === 'object' && key.address !== undefined ? { keyServer: key.address } : {}),
  });
  return assembled;
}
