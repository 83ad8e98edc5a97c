/** A collateral directory: the files by their names, written so that readers see old or new, never half. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { VerifierError } from './errors.js';

/** Files by name, as `collateralFromFiles` takes them. */
export type CollateralFiles = Map<string, Uint8Array>;

const NAME = /^[a-z][a-z-]*\.(?:pem|der|json)$/;
/** Largest file that is read from a directory. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;

function refuse(directory: string, cause: unknown, verb: string): never {
  throw new VerifierError('COLLATERAL_CACHE', `The collateral directory ${directory} cannot be ${verb}.`, {
    cause,
    advice: 'Check the path and who may write there.',
  });
}

/**
 * The collateral files in `directory`; none when it does not exist. Other names and larger files are left out.
 * @throws VerifierError COLLATERAL_CACHE
 */
export function readCollateralDirectory(directory: string): CollateralFiles {
  const files: CollateralFiles = new Map();
  try {
    for (const name of readdirSync(directory).sort()) {
      const path = join(directory, name);
      if (!NAME.test(name)) continue;
      const stat = statSync(path);
      if (stat.isFile() && stat.size <= MAX_FILE_BYTES) files.set(name, new Uint8Array(readFileSync(path)));
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return files;
    refuse(directory, cause, 'read');
  }
  return files;
}

/**
 * Writes files into `directory`, which is made if need be: each to a name of its own first, flushed, then renamed.
 * @throws VerifierError COLLATERAL_CACHE
 */
export function writeCollateralDirectory(directory: string, files: CollateralFiles): void {
  try {
    mkdirSync(directory, { recursive: true });
    for (const [name, bytes] of files) {
      if (!NAME.test(name)) throw new RangeError(`'${name}' is no collateral file`);
      const temporary = join(directory, `.${name}.${process.pid}.${randomBytes(6).toString('hex')}`);
      try {
        const file = openSync(temporary, 'wx', 0o644);
        try {
          for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
          fsyncSync(file);
        } finally {
          closeSync(file);
        }
        renameSync(temporary, join(directory, name));
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
    }
  } catch (cause) {
    refuse(directory, cause, 'written');
  }
}
