/** Programs of this machine that guests are started or made with. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { vmError } from '../errors.js';

/** What each is for, and the Debian package that brings it. */
const PROGRAMS = Object.freeze({
  'qemu-system-x86_64': { what: 'QEMU', debian: 'qemu-system-x86' },
  busybox: { what: "busybox, the guest's shell", debian: 'busybox-static' },
  make: { what: 'make', debian: 'make' },
  gcc: { what: 'gcc', debian: 'gcc' },
  strip: { what: 'strip', debian: 'binutils' },
});

export type ProgramName = keyof typeof PROGRAMS;

/** Folders that hold programs even where PATH does not name them. */
const ALSO: readonly string[] = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin'];

/** Path of a program that can be executed, or undefined. A name with a slash is looked at as it stands. */
export function lookUp(name: string, path = process.env.PATH ?? ''): string | undefined {
  if (name.includes('/')) return executable(name) ? name : undefined;
  const folders = [...path.split(':').filter((folder) => folder.startsWith('/')), ...ALSO];
  return folders.map((folder) => join(folder, name)).find(executable);
}

/** Path of a program that guests need. @throws VM_PROGRAM_MISSING naming the package */
export function findProgram(name: ProgramName): string {
  const { what, debian } = PROGRAMS[name];
  const found = lookUp(name);
  if (found === undefined)
    throw vmError('VM_PROGRAM_MISSING', `${what} (${name}) is not installed`, `apt install ${debian}`);
  return found;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
