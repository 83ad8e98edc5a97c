/** Where the built parts of this installation lie: the monitor's bundle and the native files. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sdkError } from '../errors.js';

/** Names of the parts that a confidential VM is started from, in the order in which they are measured. */
export const PART_NAMES = ['monitor', 'koffi', 'library', 'runner'] as const;

export type PartName = (typeof PART_NAMES)[number];

/** Absolute paths of the parts. */
export type Installation = Readonly<Record<PartName, string>>;

/** This package's directory; its siblings are the other packages, in a clone and in node_modules alike. */
const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

const FILES: Readonly<Record<Exclude<PartName, 'koffi'>, { owner: string; file: string[] }>> = {
  monitor: { owner: 'cvm', file: ['dist', 'bundle', 'monitor.cjs'] },
  library: { owner: 'os', file: ['native', 'build', 'libnsgx-os.so'] },
  runner: { owner: 'cpu', file: ['native', 'build', 'nsgx-runner'] },
};

/**
 * Finds the parts.
 * @param root directory that holds the packages; by default the one this package lies in
 * @throws PLATFORM_UNSUPPORTED off x86-64 Linux, INSTALLATION_INCOMPLETE naming the part that is missing
 */
export function findInstallation(root = join(PACKAGE, '..')): Installation {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw sdkError(
      'PLATFORM_UNSUPPORTED',
      `enclaves run on x86-64 Linux, this is ${process.arch} ${process.platform}`,
      'signing, measuring and verifying work here; run enclaves on an x86-64 Linux machine',
    );
  const part = (name: Exclude<PartName, 'koffi'>): string => {
    const { owner, file } = FILES[name];
    return present(name, join(root, owner, ...file));
  };
  return Object.freeze({
    monitor: part('monitor'),
    koffi: findKoffi(root),
    library: part('library'),
    runner: part('runner'),
  });
}

function present(name: PartName, path: string): string {
  if (!existsSync(path))
    throw sdkError(
      'INSTALLATION_INCOMPLETE',
      `the part "${name}" is not built: ${path} is missing`,
      'run: npm run build',
    );
  return path;
}

/** Koffi's own native module for this C library, as Koffi's loader would choose it. */
function findKoffi(root: string): string {
  const libc = usesGlibc() ? 'linux_x64' : 'musl_x64';
  try {
    const fromOs = createRequire(join(root, 'os', 'package.json'));
    const fromKoffi = createRequire(fromOs.resolve('koffi'));
    const manifest = fromKoffi.resolve('@koromix/koffi-linux-x64/package.json');
    return present('koffi', join(dirname(manifest), libc, 'koffi.node'));
  } catch (cause) {
    throw sdkError(
      'INSTALLATION_INCOMPLETE',
      'the native module of the package koffi is not installed',
      'run npm install without --omit=optional and without --ignore-scripts',
      cause,
    );
  }
}

let glibc: boolean | undefined;

function usesGlibc(): boolean {
  if (glibc === undefined) {
    const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
    glibc = report?.header?.glibcVersionRuntime !== undefined;
  }
  return glibc;
}
