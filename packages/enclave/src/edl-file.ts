/** Reading EDL files with what they import. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type ParsedEdl, parseEdl, withStandardEdl } from '@nestedsgx/edl';
import { enclaveError } from './errors.js';

const MAX_BYTES = 4 * 2 ** 20;

/**
 * Reads an EDL file. Imports are looked for beside the file that has them, then in the folders of `searchPath` (relative
 * to `root`), then among the standard files of Intel's SDK. `defines` are macros, as for `parseEdl`.
 *
 * Throws PROJECT_FILE and EdlError.
 */
export function readEdl(
  path: string,
  root: string,
  searchPath: readonly string[] = [],
  defines?: Readonly<Record<string, number>>,
): ParsedEdl {
  const text = textOf(path);
  if (text === undefined) {
    throw enclaveError('PROJECT_FILE', `cannot read ${path}`, {
      advice: 'Give the EDL file of the interface.',
    });
  }
  const find = withStandardEdl((name, from) => {
    for (const folder of [dirname(from), ...searchPath.map((folder) => resolve(root, folder))]) {
      const file = resolve(folder, name);
      const found = textOf(file);
      if (found !== undefined) return { file, text: found };
    }
    return undefined;
  });
  return parseEdl({ file: path, text }, { resolve: find, defines });
}

function textOf(path: string): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return undefined;
  }
  if (bytes.length > MAX_BYTES)
    throw enclaveError('PROJECT_FILE', `${path} has ${bytes.length} bytes, more than ${MAX_BYTES}`);
  return bytes.toString('utf8');
}
