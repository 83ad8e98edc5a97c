/** Linux kernels that a guest can boot: those installed here, and those unpacked in the cache. */
import { accessSync, constants, existsSync, readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { vmError } from '../errors.js';

/** Packages that bring a kernel, the better one first: the cloud kernel is small and boots faster. */
export const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-amd64'] as const;

const IMAGE = /^vmlinuz-(\d.*)$/;

/** A kernel with its modules. `root` is '' for an installed one, else where its packages were unpacked. */
export interface GuestKernel {
  readonly version: string;
  readonly image: string;
  /** The folder /lib/modules/VERSION. */
  readonly modules: string;
  readonly root: string;
}

/**
 * Kernels below `root` that this account can read, best first: cloud kernels, then other Debian kernels for amd64, then
 * the rest; among equals the newest.
 */
export function kernelsBelow(root: string): GuestKernel[] {
  const boot = join(root, '/boot');
  if (!existsSync(boot)) return [];
  const kernels: GuestKernel[] = [];
  for (const name of readdirSync(boot)) {
    const version = IMAGE.exec(name)?.[1];
    const image = join(boot, name);
    if (version === undefined || !readable(image)) continue;
    const modules = ['/lib/modules', '/usr/lib/modules']
      .map((folder) => join(root, folder, version))
      .find((folder) => existsSync(join(folder, 'kernel')));
    if (modules !== undefined) kernels.push({ version, image, modules: realpathSync(modules), root });
  }
  return kernels.sort((a, b) => rank(a.version) - rank(b.version) || compareVersions(b.version, a.version));
}

/**
 * Chooses among `kernels`: the first, or the one of that version.
 * @throws VM_KERNEL_MISSING
 */
export function chooseKernel(kernels: readonly GuestKernel[], version?: string): GuestKernel {
  const found = version === undefined ? kernels[0] : kernels.find((kernel) => kernel.version === version);
  if (found !== undefined) return found;
  if (version !== undefined)
    throw vmError(
      'VM_KERNEL_MISSING',
      `there is no kernel ${version} for a guest; there are ${kernels.map((kernel) => kernel.version).join(', ') || 'none'}`,
      `apt install linux-image-${version}`,
    );
  throw vmError(
    'VM_KERNEL_MISSING',
    'there is no Linux kernel for a guest on this machine',
    `apt install ${KERNEL_PACKAGES[0]} (the machine itself need not boot it)`,
  );
}

function rank(version: string): number {
  if (version.endsWith('-cloud-amd64')) return 0;
  return version.endsWith('-amd64') ? 1 : 2;
}

/** Compares numbers as numbers, the rest as text. */
export function compareVersions(a: string, b: string): number {
  return new Intl.Collator('en', { numeric: true }).compare(a, b);
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
