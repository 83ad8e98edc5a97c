/** The parts of this installation as a confidential VM started from it will be measured. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { findInstallation, PART_NAMES, type PartName } from './installation.js';
import { type CompleteLaunchOptions, completeOptions, type LaunchOptions } from './options.js';
import { type Component, readPart, sha384 } from './parts.js';

/** A part with its bytes. */
export interface InstalledPart {
  name: PartName;
  bytes: Uint8Array;
  sha384: string;
}

/** What the launch digest is computed from. */
export interface InstallationParts {
  settings: CompleteLaunchOptions['configuration'];
  node: { version: string; sha384: string };
  parts: InstalledPart[];
}

/** Computes launch digest and components from the parts; the rule for the page layout belongs to the cvm. */
export type LaunchMeasure = (input: InstallationParts) => { launchDigest: string; components: Component[] };

/** Components of an installation; the launch digest when a `LaunchMeasure` was given. */
export interface InstallationMeasurement {
  launchDigest?: string;
  components: Component[];
}

/**
 * Measures this installation: SHA-384 of every part and of the Node executable, and with `measure` the launch digest
 * that a confidential VM launched with `options` will have.
 * @throws INSTALLATION_INCOMPLETE, LAUNCH_OPTION_INVALID
 */
export async function measureInstallation(
  options: LaunchOptions & { measure?: LaunchMeasure } = {},
): Promise<InstallationMeasurement> {
  const { measure, ...launch } = options;
  const { configuration, installation } = completeOptions(launch);
  const paths = { ...(installation ?? findInstallation()) } as Record<PartName, string>;
  const parts = PART_NAMES.map((name) => {
    const bytes = readPart(name, paths[name]);
    return { name, bytes, sha384: sha384(bytes) };
  });
  const node = { version: process.version, sha384: await hashFile(process.execPath) };
  if (measure !== undefined) return measure({ settings: configuration, node, parts });
  return {
    components: [
      { name: `node ${node.version}`, sha384: node.sha384 },
      ...parts.map(({ name, sha384 }) => ({ name, sha384 })),
    ],
  };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha384');
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 }))
    hash.update(piece as Uint8Array);
  return hash.digest('hex');
}
