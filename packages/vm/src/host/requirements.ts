/** What a guest needs of this machine, and what of it is missing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defaultStateDir } from '@nestedsgx/sdk';
import { vmError } from '../errors.js';
import { kvmThere } from './accelerator.js';
import { runProgram } from './commands.js';
import { chooseKernel, type GuestKernel, KERNEL_PACKAGES, kernelsBelow } from './kernels.js';
import {
  fetchPackages,
  headerPackages,
  kernelPackage,
  type Progress,
  packageRoot,
  relocateHeaders,
} from './packages.js';
import { findProgram, lookUp } from './programs.js';

/** Where guests keep what is made or downloaded for them. */
export function defaultCache(): string {
  return join(defaultStateDir(), 'vm');
}

/** All kernels that guests can boot here. */
export function guestKernels(cache = defaultCache()): GuestKernel[] {
  return [...kernelsBelow(''), ...kernelsBelow(packageRoot(cache))];
}

/**
 * The kernel to boot. Whoever is not root gets one downloaded where none is installed.
 * @throws VM_KERNEL_MISSING, VM_DOWNLOAD_FAILED
 */
export async function provideKernel(
  cache: string,
  version: string | undefined,
  progress: Progress,
): Promise<GuestKernel> {
  const here = guestKernels(cache);
  const there = version === undefined ? here.length > 0 : here.some((kernel) => kernel.version === version);
  if (!there && mayDownload()) {
    const name = version === undefined ? await kernelPackage(KERNEL_PACKAGES[0]) : `linux-image-${version}`;
    await fetchPackages(cache, [name], progress);
    return chooseKernel(guestKernels(cache), version);
  }
  return chooseKernel(here, version);
}

/** The folder with a kernel's headers, or undefined. */
export function headersOf(kernel: GuestKernel, cache = defaultCache()): string | undefined {
  const installed = join(kernel.modules, 'build');
  const unpacked = join(packageRoot(cache), 'usr/src', `linux-headers-${kernel.version}`);
  return [installed, unpacked].find((folder) => existsSync(join(folder, 'Makefile')));
}

/**
 * As {@link headersOf}; whoever is not root gets them downloaded.
 * @throws VM_HEADERS_MISSING, VM_DOWNLOAD_FAILED
 */
export async function provideHeaders(
  cache: string,
  kernel: GuestKernel,
  progress: Progress,
): Promise<string> {
  let found = headersOf(kernel, cache);
  if (found === undefined && mayDownload()) {
    await fetchPackages(cache, await headerPackages(kernel.version), progress);
    relocateHeaders(packageRoot(cache), kernel.version);
    found = headersOf(kernel, cache);
  }
  if (found === undefined)
    throw vmError(
      'VM_HEADERS_MISSING',
      `the headers of kernel ${kernel.version} are not installed`,
      `apt install linux-headers-${kernel.version}`,
    );
  return found;
}

/** A busybox for the guest. @throws VM_PROGRAM_MISSING, VM_DOWNLOAD_FAILED */
export async function provideBusybox(cache: string, progress: Progress): Promise<string> {
  const unpacked = () =>
    ['bin/busybox', 'usr/bin/busybox']
      .map((path) => join(packageRoot(cache), path))
      .find((path) => existsSync(path));
  const found = lookUp('busybox') ?? unpacked();
  if (found !== undefined) return found;
  if (mayDownload()) {
    await fetchPackages(cache, ['busybox-static'], progress);
    const fetched = unpacked();
    if (fetched !== undefined) return fetched;
  }
  return findProgram('busybox');
}

/** Why no guest with the module can be started here, each with its cure; none: one can. Installs and downloads nothing. */
export function missingForGuests(cache = defaultCache()): { what: string; cure: string }[] {
  const missing: { what: string; cure: string }[] = [];
  const program = (name: Parameters<typeof findProgram>[0]) => {
    try {
      findProgram(name);
    } catch (error) {
      missing.push({ what: (error as Error).message, cure: (error as { advice?: string }).advice ?? '' });
    }
  };
  program('qemu-system-x86_64');
  const kernel = guestKernels(cache)[0];
  if (kernel === undefined)
    missing.push({ what: 'no Linux kernel for a guest', cure: `apt install ${KERNEL_PACKAGES[0]}` });
  else if (headersOf(kernel, cache) === undefined)
    missing.push({
      what: `no headers of kernel ${kernel.version}`,
      cure: `apt install linux-headers-${kernel.version}`,
    });
  program('busybox');
  program('make');
  program('gcc');
  return missing;
}

/** What guests would be started with here, in one line; what is missing is left out. */
export async function describeGuests(cache = defaultCache()): Promise<string> {
  const qemu = lookUp('qemu-system-x86_64');
  const words: string[] = [];
  if (qemu !== undefined) {
    const { output } = await runProgram(qemu, ['--version'], { timeoutMs: 10_000 });
    words.push(`QEMU ${/version ([\d.]+)/.exec(output)?.[1] ?? 'of unknown version'}`);
  }
  const kernel = guestKernels(cache)[0];
  if (kernel !== undefined) {
    const built = headersOf(kernel, cache) === undefined ? '' : ' with headers';
    words.push(`kernel ${kernel.version}${built}`);
  }
  if (words.length > 0) words.push(kvmThere() ? '/dev/kvm' : 'no /dev/kvm: emulation');
  return words.join(', ');
}

function mayDownload(): boolean {
  return process.getuid?.() !== 0 && lookUp('apt-get') !== undefined && lookUp('dpkg') !== undefined;
}
