/** Options of a launch, checked and completed. */
import { totalmem } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { sdkError } from '../errors.js';
import { canonicalSigners } from './signers.js';
import { defaultStateDir } from './state-dir.js';

const MIB = 2 ** 20;

const size = (min: number, max: number, multiple: number) =>
  z.number().int().min(min).max(max).multipleOf(multiple).optional();

const schema = z.strictObject({
  ramBytes: size(64 * MIB, 256 * 1024 * MIB, 2 * MIB),
  epcBytes: size(MIB, 1024 * 1024 * MIB, 4096),
  window: z
    .strictObject({
      gpa: z.number().int().min(MIB),
      bytes: z
        .number()
        .int()
        .min(8 * MIB),
    })
    .optional(),
  stateDir: z.string().min(1).max(4096).nullable().optional(),
  isolation: z.enum(['same-user', 'separate-user']).optional(),
  patch: z.boolean().optional(),
  launchSigners: z
    .array(z.string().regex(/^[0-9a-fA-F]{64}$/, 'an MRSIGNER is 64 hexadecimal digits'))
    .max(32)
    .optional(),
  hostDescriptors: z.boolean().optional(),
  lockMemory: z.boolean().optional(),
  user: z.strictObject({ uid: z.number().int().min(0), gid: z.number().int().min(0) }).optional(),
  stderr: z
    .union([z.literal('inherit'), z.literal('ignore'), z.strictObject({ file: z.string().min(1) })])
    .optional(),
  listen: z
    .strictObject({ path: z.string().min(1).max(107), mode: z.number().int().min(0).max(0o777) })
    .optional(),
  lifetime: z.enum(['host', 'service']).optional(),
  installation: z.record(z.string(), z.string()).optional(),
  timeoutMs: z.number().int().min(100).max(600_000).optional(),
});

/**
 * Options of `Cvm.launch` and `launchCvm`. Sizes in bytes.
 * - `ramBytes` guest RAM (default 1 GiB, sparse), `epcBytes` EPC (default half of this machine's RAM, committed lazily)
 * - `window` the part of guest RAM that a guest with a kernel of its own shares with the machine, 2 MiB aligned
 * - `stateDir` keys of the software chip; null: a chip that is forgotten with the process
 * - `isolation` what keeps the machine apart from its hosts; `user` account to run it under (needs root)
 * - `patch` rewrite ENCLU sites to jump to the gate; `launchSigners` the only MRSIGNERs that EINIT
 *   accepts (hex; measured; none: any signer)
 * - `hostDescriptors` whether enclaves may be loaded with host descriptors at all (default true)
 * - `lockMemory` keep pages of enclaves in RAM, as far as this account may (default true; RLIMIT_MEMLOCK): what the kernel takes
 *   out of a process has to be brought back by the machine, page by page
 * - `lifetime` `host` (default): ends with this process; `service`: lives until stopped. `listen`: Unix socket to serve
 * - `stderr` of the machine's process: inherited (default), ignored, or appended to a file
 */
export type LaunchOptions = z.input<typeof schema>;

/** Launch options with every default filled in. */
export interface CompleteLaunchOptions {
  configuration: {
    format: 1;
    isolation: 'same-user' | 'separate-user';
    lifetime: 'host' | 'service';
    ramBytes: number;
    ramSlot: number | null;
    window: { gpa: number; bytes: number } | null;
    epcBytes: number;
    stateDir: string | null;
    patch: boolean;
    launchSigners: string[];
    hostDescriptors: boolean;
    tracer?: true;
  };
  user?: { uid: number; gid: number };
  stderr: 'inherit' | 'ignore' | { file: string };
  listen?: { path: string; mode: number };
  installation?: Record<string, string>;
  lockMemory: boolean;
  timeoutMs: number;
}

/** Checks options and fills in defaults. @throws LAUNCH_OPTION_INVALID naming the option */
export function completeOptions(options: LaunchOptions = {}): CompleteLaunchOptions {
  const result = schema.safeParse(options);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw sdkError(
      'LAUNCH_OPTION_INVALID',
      `launch option ${issue.path.join('.') || 'value'}: ${issue.message}`,
      'see LaunchOptions for names, units and limits',
    );
  }
  const given = result.data;
  const half = Math.floor(totalmem() / 2 / 4096) * 4096;
  const stateDir = given.stateDir === undefined ? defaultStateDir() : given.stateDir;
  return {
    configuration: {
      format: 1,
      isolation: given.isolation ?? 'same-user',
      lifetime: given.lifetime ?? 'host',
      ramBytes: given.ramBytes ?? 1024 * MIB,
      ramSlot: null,
      window: given.window ?? null,
      epcBytes: given.epcBytes ?? Math.min(half, 1024 * 1024 * MIB),
      stateDir: stateDir === null ? null : resolve(stateDir),
      patch: given.patch ?? true,
      launchSigners: canonicalSigners(given.launchSigners ?? []),
      hostDescriptors: given.hostDescriptors ?? true,
    },
    user: given.user,
    stderr: given.stderr ?? 'inherit',
    listen: given.listen,
    installation: given.installation,
    lockMemory: given.lockMemory ?? true,
    timeoutMs: given.timeoutMs ?? 20_000,
  };
}
