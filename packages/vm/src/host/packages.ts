/**
 * Debian packages for those who cannot install any: downloaded through apt, as anybody may, and unpacked into the cache.
 * What they bring is data for the guest (a kernel, headers, a static busybox); nothing of it becomes part of this system.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { vmError } from '../errors.js';
import { PRIVATE, runProgram } from './commands.js';

/** Says what is being done; for people. */
export type Progress = (text: string) => void;

const HEADER_PARTS = /^linux-(?:headers|kbuild|compiler)-/;

/** Folder below which packages are unpacked as if it were `/`. */
export function packageRoot(cache: string): string {
  return join(cache, 'packages', 'root');
}

/**
 * Downloads and unpacks packages that are not there yet.
 * @throws VM_DOWNLOAD_FAILED
 */
export async function fetchPackages(
  cache: string,
  names: readonly string[],
  progress: Progress,
): Promise<void> {
  const done = join(cache, 'packages', 'done');
  const root = packageRoot(cache);
  for (const folder of [done, root]) mkdirSync(folder, { recursive: true, mode: PRIVATE });
  const wanted = names.filter((name) => !existsSync(join(done, name)));
  if (wanted.length === 0) return;
  const work = mkdtempSync(join(cache, 'packages', 'download-'));
  try {
    progress(`downloading ${wanted.join(', ')}`);
    const got = await runProgram('apt-get', ['download', ...wanted], { cwd: work });
    if (got.error || got.status !== 0)
      throw vmError(
        'VM_DOWNLOAD_FAILED',
        `apt-get could not download ${wanted.join(', ')}: ${lastLine(got.output, got.error)}`,
        `install them as root: apt update && apt install ${wanted.join(' ')}`,
      );
    for (const file of readdirSync(work)) {
      progress(`unpacking ${file}`);
      const unpacked = await runProgram('dpkg', ['-x', join(work, file), root]);
      if (unpacked.error || unpacked.status !== 0)
        throw vmError(
          'VM_DOWNLOAD_FAILED',
          `dpkg could not unpack ${file}: ${lastLine(unpacked.output, unpacked.error)}`,
          `look whether ${cache} has room`,
        );
    }
    for (const name of wanted) writeFileSync(join(done, name), '');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The package with the kernel that a meta package stands for. @throws VM_DOWNLOAD_FAILED */
export async function kernelPackage(meta: string): Promise<string> {
  const found = (await dependencies(meta)).find((name) => /^linux-image-\d/.test(name));
  if (found === undefined)
    throw vmError(
      'VM_DOWNLOAD_FAILED',
      `apt knows no kernel behind ${meta}`,
      `apt update && apt install ${meta}`,
    );
  return found;
}

/** The headers of a kernel version, with all packages that building against them takes. @throws VM_DOWNLOAD_FAILED */
export async function headerPackages(version: string): Promise<string[]> {
  const first = `linux-headers-${version}`;
  const names = new Set([first]);
  for (const name of names)
    for (const need of await dependencies(name)) if (HEADER_PARTS.test(need)) names.add(need);
  return [...names];
}

/** Unpacked headers name their parts by absolute paths; makes these lead below `root`. */
export function relocateHeaders(root: string, version: string): void {
  const makefile = join(root, 'usr/src', `linux-headers-${version}`, 'Makefile');
  if (!existsSync(makefile)) return;
  const text = readFileSync(makefile, 'utf8');
  const moved = text.replaceAll(
    /(^|[\s=])(\/usr\/(?:src|lib)\/)/g,
    (_, before, path) => `${before}${root}${path}`,
  );
  if (moved === text) return;
  writeFileSync(`${makefile}.new`, moved);
  renameSync(`${makefile}.new`, makefile);
}

async function dependencies(name: string): Promise<string[]> {
  const { output, error, status } = await runProgram('apt-cache', ['depends', '--important', name]);
  if (error || status !== 0)
    throw vmError(
      'VM_DOWNLOAD_FAILED',
      `apt does not know the package ${name}: ${lastLine(output, error)}`,
      `as root: apt update && apt install ${name}`,
    );
  return [...output.matchAll(/^\s+Depends: (\S+)$/gm)].map(([, need]) => need!);
}

function lastLine(output: string, error: Error | undefined): string {
  return error?.message ?? output.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
}
