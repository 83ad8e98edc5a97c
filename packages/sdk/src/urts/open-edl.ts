/** Reads the EDL file of an enclave. */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import {
  type DescribeOptions,
  describeEdl,
  type EdlDescription,
  type EdlResolver,
  parseEdl,
  withStandardEdl,
} from '@nestedsgx/edl';
import { sdkError } from '../errors.js';

/** Largest EDL file, in bytes. */
const MAX_BYTES = 4 * 2 ** 20;

/**
 * Parses an EDL file with its imports, which are looked for beside the importing file and in `searchPath`, then
 * among the SDK's own, and lays its structures out. Calls with types
 * that only C headers know are described as unavailable unless `types` has them, and so are those with attributes that the
 * language had once. `defines` are macros: for conditional parts of the file and for sizes.
 * @throws EDL_FILE, EdlError, EDL_VALUE for macros that are no numbers
 */
export function openEdl(
  path: string,
  searchPath: readonly string[] = [],
  types?: DescribeOptions['types'],
  defines?: Readonly<Record<string, number>>,
): EdlDescription {
  const root = resolve(path);
  const find: EdlResolver = (name, from) => {
    for (const folder of [dirname(from), ...searchPath]) {
      const file = resolve(join(folder, name));
      const text = readText(file, false);
      if (text !== undefined) return { file, text };
    }
    return undefined;
  };
  const text = readText(root, true) as string;
  const parsed = parseEdl(
    { file: root, text },
    { resolve: withStandardEdl(find), defines, allowRemoved: true },
  );
  return describeEdl(parsed, { types, allowUnknown: true });
}

function readText(file: string, needed: boolean): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    if (!needed) return undefined;
    throw sdkError('EDL_FILE', `${file} cannot be read`, 'check the path of the EDL file', cause);
  }
  if (bytes.length > MAX_BYTES)
    throw sdkError('EDL_FILE', `${file} has ${bytes.length} bytes, more than ${MAX_BYTES}`);
  return bytes.toString('utf8');
}
