/** Parts of a confidential VM in sealed memory: each file is read once, and what was read is measured and executed. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  close,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  memfdCreate,
  pwrite,
  sealMemfd,
} from '@nestedsgx/os';
import { sdkError } from '../errors.js';
import { type Installation, PART_NAMES, type PartName } from './installation.js';

/** A part as measured: its name and the SHA-384 of its bytes (lower-case hex). */
export interface Component {
  name: string;
  sha384: string;
}

const MAX_PART = 256 * 2 ** 20;
/** The runner's file may be executed but not opened: its process is then not dumpable from its first instruction. */
const RUNNER_MODE = 0o111;
/** Modules are opened through /proc/self/fd by the account that the machine runs under, which may be another one. */
const MODULE_MODE = 0o555;

/** Puts bytes into a memory file that nobody can change any more; the caller closes the descriptor. */
export function sealedMemory(
  name: string,
  bytes: Uint8Array,
  options: { mode?: number; exec?: boolean } = {},
): number {
  const fd = memfdCreate(name, { size: bytes.length, ...options });
  try {
    pwrite(fd, bytes, 0);
    sealMemfd(fd, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Reads one part. @throws INSTALLATION_INCOMPLETE when it cannot be read or is absurdly large */
export function readPart(name: PartName, path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw sdkError(
      'INSTALLATION_INCOMPLETE',
      `the part "${name}" cannot be read: ${path}`,
      'run: npm run build',
      cause,
    );
  }
  if (bytes.length === 0 || bytes.length > MAX_PART)
    throw sdkError(
      'INSTALLATION_INCOMPLETE',
      `the part "${name}" has ${bytes.length} bytes: ${path}`,
      'build again',
    );
  return bytes;
}

/** Every part in sealed memory; `close` closes the launcher's descriptors. */
export function sealParts(installation: Installation): { fds: Record<PartName, number>; close(): void } {
  const fds = {} as Record<PartName, number>;
  const closeAll = () => {
    for (const name of PART_NAMES) if (fds[name] !== undefined) close(fds[name]);
  };
  try {
    for (const name of PART_NAMES) {
      const options =
        name === 'monitor' ? {} : { mode: name === 'runner' ? RUNNER_MODE : MODULE_MODE, exec: true };
      fds[name] = sealedMemory(`nsgx-${name}`, readPart(name, installation[name]), options);
    }
  } catch (error) {
    closeAll();
    throw error;
  }
  return { fds, close: closeAll };
}

/** SHA-384 in lower-case hex. */
export function sha384(bytes: Uint8Array): string {
  return createHash('sha384').update(bytes).digest('hex');
}
