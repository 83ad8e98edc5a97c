/** Files of Debian packages: installed ones, or .deb files. Source: dpkg(1), dpkg-deb(1). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { libosError } from '../errors.js';

/** What programs do not need. */
const LEFT_OUT = /^\/usr\/share\/(doc|man|info|lintian|bash-completion|bug|doc-base|menu)(\/|$)/;
const NAME = /^[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?$/;

/** Whether a name means a file. */
export function isPackageFile(name: string): boolean {
  return name.includes('/') || name.endsWith('.deb');
}

function tool(command: string, args: readonly string[], what: string): string {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
  if (result.status === 0) return result.stdout;
  const why = result.error?.message ?? result.stderr.trim().split('\n')[0];
  throw libosError('PACKAGE_MISSING', `${what}: ${why}`, {
    advice: 'Install the package, or give a .deb file; this needs dpkg.',
  });
}

/** Whether an image keeps a file of a package: no documentation. */
export function isKept(path: string): boolean {
  return path.startsWith('/') && path !== '/.' && !LEFT_OUT.test(path);
}

/** Paths of an installed package. @throws PACKAGE_MISSING */
export function installedFiles(name: string): string[] {
  if (!NAME.test(name))
    throw libosError('PACKAGE_MISSING', `"${name}" is no name of a package`, {
      advice: 'Give a name as dpkg has it, or a path of a .deb file.',
    });
  return tool('dpkg', ['-L', name], `the files of package ${name} are not known`)
    .split('\n')
    .filter(isKept)
    .sort();
}

/** Folders with the contents of .deb files; they are removed at the end. */
export class Unpacked implements Disposable {
  readonly folders: string[] = [];

  /** @throws PACKAGE_MISSING */
  add(file: string): void {
    const folder = mkdtempSync(join(tmpdir(), 'nsgx-deb-'));
    this.folders.push(folder);
    tool('dpkg-deb', ['-x', file, folder], `${file} cannot be unpacked`);
  }

  [Symbol.dispose](): void {
    for (const folder of this.folders) rmSync(folder, { recursive: true, force: true });
  }
}
