/** Finds the enclaves and scenarios of a folder. */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { compatError } from './errors.js';
import type { EnclaveReport } from './report.js';

const ENCLAVE = /\.signed\.so(\.\d[0-9.]*)?$/;
const SCENARIO = /\.compat\.mjs$/;
const MAX_DEPTH = 16;
const MAX_FOUND = 10_000;

/** What is to be tried. */
export interface Found {
  /** Relative to the folder. */
  readonly file: string;
  readonly path: string;
  readonly kind: EnclaveReport['kind'];
}

/**
 * All `*.signed.so` and `*.compat.mjs` below a folder, by name; each file once, however many links lead to it.
 * @throws COMPAT_FOLDER
 */
export function findEnclaves(folder: string): { root: string; found: Found[] } {
  let root: string;
  try {
    root = realpathSync(folder);
    if (!statSync(root).isDirectory()) throw new Error('it is no folder');
  } catch (cause) {
    throw compatError('COMPAT_FOLDER', `${folder} cannot be read: ${(cause as Error).message}`, cause);
  }
  const seen = new Set<string>();
  const found: Found[] = [];
  const walk = (at: string, depth: number): void => {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      const path = join(at, entry.name);
      if (entry.isDirectory()) {
        if (depth < MAX_DEPTH && entry.name !== 'node_modules' && entry.name !== '.git')
          walk(path, depth + 1);
        continue;
      }
      const kind = ENCLAVE.test(entry.name) ? 'enclave' : SCENARIO.test(entry.name) ? 'scenario' : undefined;
      if (kind === undefined || found.length >= MAX_FOUND) continue;
      const real = realFile(path);
      if (real === undefined || seen.has(real)) continue;
      seen.add(real);
      found.push({ file: relative(root, path), path, kind });
    }
  };
  walk(root, 0);
  if (found.length === 0)
    throw compatError('COMPAT_FOLDER', `${folder} has no *.signed.so and no *.compat.mjs`);
  return { root, found: found.sort((a, b) => (a.file < b.file ? -1 : 1)) };
}

/** The file that a path leads to; undefined for links that lead nowhere. */
function realFile(path: string): string | undefined {
  try {
    return statSync(path).isFile() ? realpathSync(path) : undefined;
  } catch {
    return undefined;
  }
}
