import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { LaunchDigest, SNP_PAGE_TYPE } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { MONITOR_GPA, PAGE_SIZE } from '@nestedsgx/machine';
import type { CvmConfiguration } from './configuration.js';
import { type Part, sha384Hex } from './parts.js';

/** A part and its digest as `nsgx measure --cvm` prints them. */
export interface Component {
  name: string;
  sha384: string;
}

/** A page range of VMPL0 as it is measured: whole pages, zero padded. */
export interface MeasuredRegion {
  name: string;
  gpa: number;
  bytes: Uint8Array;
}

/** Identity of the Node executable that interprets the monitor. */
export interface NodeIdentity {
  version: string;
  sha384: string;
}

/** SHA-384 of the Node executable. It is read in pieces: it has about 100 MB. */
export function measureNode(executable: string, version: string): NodeIdentity {
  const hash = createHash('sha384');
  const piece = Buffer.allocUnsafe(4 * 2 ** 20);
  const fd = openSync(executable, 'r');
  try {
    for (let got = readSync(fd, piece); got > 0; got = readSync(fd, piece))
      hash.update(piece.subarray(0, got));
  } finally {
    closeSync(fd);
  }
  return { version, sha384: hash.digest('hex') };
}

/**
 * The configuration page: what the monitor was told that bears on security, the Node executable that interprets it,
 * and name, length and digest of every part (so that zero padding can never stand for content).
 */
export function configurationPage(
  settings: MeasuredSettings,
  node: NodeIdentity,
  parts: readonly Part[],
): Uint8Array {
  const page = {
    format: 1,
    isolation: settings.isolation,
    patch: settings.patch,
    launchSigners: settings.launchSigners,
    node,
    parts: parts.map((part) => ({
      name: part.name,
      length: part.bytes.length,
      sha384: sha384Hex(part.bytes),
    })),
  };
  return new TextEncoder().encode(JSON.stringify(page));
}

/** The settings that are measured; RAM and EPC size are not, as on SNP they do not enter the launch digest. */
export type MeasuredSettings = Pick<CvmConfiguration, 'isolation' | 'patch' | 'launchSigners'>;

/** Lays the parts out as VMPL0 pages, in their fixed order, from MONITOR_GPA upward. */
export function layRegions(
  settings: MeasuredSettings,
  node: NodeIdentity,
  parts: readonly Part[],
): MeasuredRegion[] {
  const regions: MeasuredRegion[] = [];
  let gpa = MONITOR_GPA;
  for (const part of [{ name: 'configuration', bytes: configurationPage(settings, node, parts) }, ...parts]) {
    const pages = Math.ceil(part.bytes.length / PAGE_SIZE);
    const bytes = new Uint8Array(pages * PAGE_SIZE);
    bytes.set(part.bytes);
    regions.push({ name: part.name, gpa, bytes });
    gpa += bytes.length;
  }
  return regions;
}

/** Digest and components of an installation, as the PSP of a cvm started from it will measure them. */
export function measureLaunch(
  settings: MeasuredSettings,
  node: NodeIdentity,
  parts: readonly Part[],
): { launchDigest: string; components: Component[] } {
  const digest = new LaunchDigest(nodeHash);
  for (const region of layRegions(settings, node, parts))
    for (let at = 0; at < region.bytes.length; at += PAGE_SIZE)
      digest.update(SNP_PAGE_TYPE.NORMAL, BigInt(region.gpa + at), region.bytes.subarray(at, at + PAGE_SIZE));
  return {
    launchDigest: Buffer.from(digest.digest).toString('hex'),
    components: components(settings, node, parts),
  };
}

/** Name and SHA-384 of everything that enters the launch digest. */
export function components(
  settings: MeasuredSettings,
  node: NodeIdentity,
  parts: readonly Part[],
): Component[] {
  const measuredSettings = new TextEncoder().encode(
    JSON.stringify({
      isolation: settings.isolation,
      patch: settings.patch,
      launchSigners: settings.launchSigners,
    }),
  );
  return [
    { name: 'settings', sha384: sha384Hex(measuredSettings) },
    { name: `node ${node.version}`, sha384: node.sha384 },
    ...parts.map((part) => ({ name: part.name, sha384: sha384Hex(part.bytes) })),
  ];
}
