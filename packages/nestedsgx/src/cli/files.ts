import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';

/**
 * Reads a file whose content comes from elsewhere.
 * @throws NsgxError FILE_UNREADABLE, FILE_TOO_LARGE with the limit in bytes
 */
export function readLimited(path: string, limit: number, what: string): Uint8Array {
  let size: number;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new Error('not a regular file');
    size = stat.size;
  } catch (cause) {
    throw new NsgxError('FILE_UNREADABLE', `${what} ${path} cannot be read: ${reason(cause)}`, {
      cause,
      advice: 'Check the path.',
    });
  }
  if (size > limit)
    throw new NsgxError('FILE_TOO_LARGE', `${what} ${path} has ${size} bytes; at most ${limit} are read`);
  return new Uint8Array(readFileSync(path));
}

/** The regular files of a directory with their bytes, each below `limit` bytes. */
export function readDirectory(
  path: string,
  limit: number,
  what: string,
): [name: string, bytes: Uint8Array][] {
  let names: string[];
  try {
    names = readdirSync(path).sort();
  } catch (cause) {
    throw new NsgxError('FILE_UNREADABLE', `${what} ${path} cannot be listed: ${reason(cause)}`, { cause });
  }
  return names
    .filter((name) => statSync(join(path, name)).isFile())
    .map((name) => [name, readLimited(join(path, name), limit, what)]);
}

/** Bytes from hexadecimal digits. @throws NsgxError VALUE_NOT_HEX */
export function bytesFromHex(text: string, what: string, length?: number): Uint8Array {
  const clean = text.replace(/^0x/i, '');
  const wanted = length === undefined ? 'an even number of' : `${length * 2}`;
  if (!/^([0-9a-f]{2})*$/i.test(clean) || (length !== undefined && clean.length !== length * 2))
    throw new NsgxError(
      'VALUE_NOT_HEX',
      `${what} must be ${wanted} hexadecimal digits, not "${text.slice(0, 80)}"`,
    );
  return new Uint8Array(Buffer.from(clean, 'hex'));
}

/** Lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT'
    ? 'there is no such file'
    : code === 'EACCES'
      ? 'permission denied'
      : error.message;
}
