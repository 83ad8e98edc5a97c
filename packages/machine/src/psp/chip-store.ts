/** Keeps the chip of an installation in its state directory: mode 0600 in a directory of mode 0700. */
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { MachineError } from '../errors.js';
import { type Chip, decodeChip, encodeChip } from './chip.js';

const FILE = 'chip.json';
/** No chip file is longer; longer ones are damaged. */
const MAX_BYTES = 65_536;

/** The chip in `directory`, or undefined when there is none. Throws PSP_STATE_DAMAGED, _PERMISSIONS, _IO. */
export function loadChip(directory: string): Chip | undefined {
  const path = join(directory, FILE);
  try {
    checkPrivate(directory);
    checkPrivate(path);
    const text = statSync(path).size > MAX_BYTES ? '' : readFileSync(path, 'utf8');
    return decodeChip(text, path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw wrap(error, path, 'read');
  }
}

/**
 * Stores a chip unless there is one already, atomically: a reader sees none or all of it, and of two processes
 * that store at once one wins. Returns the chip that is stored now. Throws PSP_STATE_IO, and as `loadChip`.
 */
export function storeChip(directory: string, chip: Chip): Chip {
  const path = join(directory, FILE);
  const temporary = join(directory, `.chip-${process.pid}-${Date.now()}`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      writeSync(fd, encodeChip(chip));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    try {
      linkSync(temporary, path);
    } finally {
      unlinkSync(temporary);
    }
    syncDirectory(directory);
    return chip;
  } catch (error) {
    const other = codeOf(error) === 'EEXIST' ? loadChip(directory) : undefined;
    if (other !== undefined) return other;
    throw wrap(error, path, 'written');
  }
}

/** Refuses a file or directory that others may read or that another user owns. Throws PSP_STATE_PERMISSIONS. */
function checkPrivate(path: string): void {
  const { mode, uid } = statSync(path);
  const me = process.geteuid?.() ?? uid;
  if ((mode & 0o077) !== 0 || uid !== me) {
    throw new MachineError(
      'PSP_STATE_PERMISSIONS',
      `${path} has mode ${(mode & 0o777).toString(8)} and owner ${uid}; the chip's secrets may have been read.`,
      { advice: `Run as its owner and say: chmod go= '${path}'` },
    );
  }
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof MachineError ? undefined : (error as NodeJS.ErrnoException)?.code;
}

function wrap(error: unknown, path: string, done: string): MachineError {
  if (error instanceof MachineError) return error;
  return new MachineError(
    'PSP_STATE_IO',
    `The stored chip ${path} cannot be ${done}: ${(error as Error).message}.`,
    {
      cause: error,
      advice: 'Check that the state directory exists, is yours and has space left.',
    },
  );
}
