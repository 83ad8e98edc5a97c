/** The shared libraries that programs need, as this machine's loader finds them. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { vmError } from '../errors.js';
import type { GuestTree } from './tree.js';

const ELF = 0x464c457f;
const AT_ONCE = 64;
/** Where every loader looks; libraries from elsewhere get a link there, whatever led to them here. */
const STANDARD = /^(?:\/usr)?\/lib(?:64|\/x86_64-linux-gnu)?$/;
const LINKS = '/usr/lib/x86_64-linux-gnu';

/** True for an ELF file. */
export function isElf(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(4);
    return readSync(fd, head, 0, 4, 0) === 4 && head.readUInt32LE(0) === ELF;
  } finally {
    closeSync(fd);
  }
}

/**
 * Paths of the libraries of these ELF files, their loader included; none for static ones. `lenient`: what is not found is
 * left out.
 * @throws VM_PROGRAM_MISSING without ldd, VM_LIBRARY_MISSING
 */
export function librariesOf(paths: readonly string[], options: { lenient?: boolean } = {}): string[] {
  const found = new Set<string>();
  for (let at = 0; at < paths.length; at += AT_ONCE)
    for (const path of ldd(paths.slice(at, at + AT_ONCE), options.lenient === true)) found.add(path);
  return [...found];
}

function ldd(paths: readonly string[], lenient: boolean): string[] {
  const result = spawnSync('ldd', [...paths], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
  if (result.error)
    throw vmError(
      'VM_PROGRAM_MISSING',
      'ldd, which finds shared libraries, cannot be started',
      'apt install libc-bin',
      result.error,
    );
  return readLdd(result.stdout, paths.length === 1 ? paths[0]! : 'the programs', lenient);
}

/** What ldd prints: "NAME => PATH (0x…)", "PATH (0x…)" for the loader, "NAME => not found". @throws VM_LIBRARY_MISSING */
export function readLdd(text: string, program: string, lenient = false): string[] {
  const found: string[] = [];
  for (const line of text.split('\n')) {
    const missing = /^\s+(\S+) => not found/.exec(line);
    if (missing && !lenient)
      throw vmError(
        'VM_LIBRARY_MISSING',
        `${program} needs ${missing[1]}, which this machine does not have`,
        'install it, or set LD_LIBRARY_PATH to where it lies',
      );
    const path = /^\s+(?:\S+ => )?(\/.*?) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    if (path !== undefined) found.push(path);
  }
  return found;
}

/** Puts libraries where they are here, so that run paths lead to them, and where loaders look. */
export function addLibraries(tree: GuestTree, paths: readonly string[]): void {
  for (const path of paths) {
    if (!tree.has(path)) tree.file(path, readFileSync(path), 0o755);
    const link = `${LINKS}/${basename(path)}`;
    if (!STANDARD.test(dirname(path)) && !tree.has(link)) tree.link(link, path);
  }
}
