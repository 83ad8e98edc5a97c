/** Finds the EDL file of a `.signed.so` where builds leave it. */
import { type Dirent, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { EdlDescription } from '@nestedsgx/edl';

const SUFFIX = /(\.signed)?\.so(\.[0-9.]+)?$/;
/** Largest NAME.json. */
const MAX_JSON = 16 * 2 ** 20;

/** File name of an enclave without `.signed.so`. */
export function enclaveName(path: string): string {
  return basename(path).replace(SUFFIX, '');
}

/** `NAME.edl` or `Enclave.edl` beside the file. */
export function edlBeside(path: string): string | undefined {
  return [`${enclaveName(path)}.edl`, 'Enclave.edl']
    .map((name) => join(dirname(path), name))
    .find((file) => existsSync(file));
}

/** The interface in the NAME.json that `nsgx build` leaves beside a `.signed.so`. */
export function builtInterface(path: string): EdlDescription | undefined {
  const file = join(dirname(path), `${enclaveName(path)}.json`);
  try {
    if (statSync(file).size > MAX_JSON) return undefined;
    const { format, edl } = JSON.parse(readFileSync(file, 'utf8')) as {
      format?: unknown;
      edl?: EdlDescription;
    };
    return format === 2 && Array.isArray(edl?.ecalls) && Array.isArray(edl.ocalls) ? edl : undefined;
  } catch {
    return undefined;
  }
}

const SOURCE_DEPTH = 3;
const SKIPPED = new Set(['node_modules', '.git', '.svn']);

/** EDL files that may be an enclave's; the likelier ones first. */
export interface EdlCandidates {
  /** Beside it or in a folder `Enclave` or NAME there, under a name that says so: nothing else is needed to take it. */
  readonly likely: readonly string[];
  /** All others around. */
  readonly others: readonly string[];
}

/** Looks for EDL files beside an enclave, below and up to two folders above it, only within `root`. */
export function edlCandidates(path: string, root: string): EdlCandidates {
  const found: string[] = [];
  let folder = dirname(path);
  for (let up = 0; up <= 2; up++) {
    found.push(...edlFiles(folder, SOURCE_DEPTH));
    if (folder === root || !folder.startsWith(root)) break;
    folder = dirname(folder);
  }
  const name = enclaveName(path);
  const places = ['', 'Enclave', name].map((place) => join(dirname(path), place));
  const likely = places
    .flatMap((place) => [join(place, `${name}.edl`), join(place, 'Enclave.edl')])
    .filter((file) => found.includes(file));
  return {
    likely: [...new Set(likely)],
    others: [...new Set(found)].filter((file) => !likely.includes(file)),
  };
}

function edlFiles(folder: string, depth: number): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.edl'));
  const folders =
    depth === 0 ? [] : entries.filter((entry) => entry.isDirectory() && !SKIPPED.has(entry.name));
  return [
    ...files.map(({ name }) => join(folder, name)),
    ...folders.flatMap(({ name }) => edlFiles(join(folder, name), depth - 1)),
  ];
}
