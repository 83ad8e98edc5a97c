/** What builds images, told apart by its files: another one would make another image of the same files. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PARTS = ['elf', 'image', 'rewrite'];

let known: string | undefined;

/** A digest over the package's version and names, sizes and times of the builder's code. It costs some sixty stat(2). */
export function builderIdentity(): string {
  known ??= identityOf();
  return known;
}

function identityOf(): string {
  const code = fileURLToPath(new URL('..', import.meta.url));
  const layout = dirname(createRequire(import.meta.url).resolve('@nestedsgx/enclave'));
  const { version } = JSON.parse(readFileSync(join(code, '../../package.json'), 'utf8')) as {
    version: string;
  };
  return digestOf(version, [...PARTS.map((name) => join(code, name)), layout]);
}

/** The digest of a version and of the scripts in some folders. */
export function digestOf(version: string, folders: readonly string[]): string {
  const hash = createHash('sha256').update(version);
  for (const folder of folders)
    for (const name of readdirSync(folder).sort()) {
      if (!name.endsWith('.js')) continue;
      const { size, mtimeMs } = statSync(join(folder, name));
      hash.update(`\0${name} ${size} ${mtimeMs}`);
    }
  return hash.digest('hex');
}
