/** Files out of a guest: an archive that the guest writes and this side reads with care. */
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import { vmError } from './errors.js';
import { BUSYBOX_PATH } from './initramfs/assemble.js';
import type { Vm } from './vm.js';

const BLOCK = 512;
const NAME_LIMIT = 4096;
const BYTES_LIMIT = 2 ** 31 - 1;

/** One file or folder of an archive; other kinds are left out and counted. */
export interface ArchiveEntry {
  path: string;
  mode: number;
  /** Undefined for a folder. */
  bytes?: Buffer;
}

/**
 * Brings a file or folder of the guest to `to` here (into it, if that is a folder). Links and devices stay behind.
 * @returns number of files written
 * @throws VM_FILE, VM_GUEST_ENDED
 */
export async function fetchFiles(vm: Vm, from: string, to: string): Promise<number> {
  const path = posix.resolve('/root', from);
  const name = posix.basename(path);
  if (name === '') throw vmError('VM_FILE', 'all of the guest cannot be brought out', 'name a folder');
  const argv = [BUSYBOX_PATH, 'tar', '-C', posix.dirname(path), '-cf', '-', name];
  const { code, stdout, stderr } = await vm.capture(argv, { limit: BYTES_LIMIT });
  if (code !== 0)
    throw vmError('VM_FILE', `the guest has no ${path} to give: ${stderr.toString().trim().slice(0, 300)}`);
  const here = statSync(to, { throwIfNoEntry: false })?.isDirectory() ? join(to, basename(name)) : to;
  let files = 0;
  for (const entry of readArchive(stdout, name)) {
    const target = entry.path === name ? here : join(here, entry.path.slice(name.length + 1));
    try {
      if (entry.bytes === undefined) mkdirSync(target, { recursive: true });
      else {
        writeFileSync(target, entry.bytes);
        chmodSync(target, entry.mode & 0o777);
        files++;
      }
    } catch (cause) {
      throw vmError('VM_FILE', `${target} cannot be written: ${(cause as Error).message}`, undefined, cause);
    }
  }
  return files;
}

/**
 * Reads a tar archive (POSIX ustar with GNU's long names) whose entries all lie at or below `root`.
 * @throws VM_FILE for anything else
 */
export function* readArchive(bytes: Buffer, root: string): Generator<ArchiveEntry> {
  let long: string | undefined;
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const head = bytes.subarray(at, at + BLOCK);
    if (head.every((byte) => byte === 0)) return;
    const size = octal(head, 124, 12);
    const kind = String.fromCharCode(head[156]!);
    const data = bytes.subarray(at + BLOCK, at + BLOCK + size);
    if (data.length < size) throw damaged('it ends within a file');
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    if (kind === 'L') {
      if (size > NAME_LIMIT) throw damaged('a name is too long');
      long = text(data, 0, data.length);
      continue;
    }
    const prefix = head.toString('latin1', 257, 262) === 'ustar' ? text(head, 345, 155) : '';
    const name = long ?? (prefix === '' ? text(head, 0, 100) : `${prefix}/${text(head, 0, 100)}`);
    long = undefined;
    const path = name.replace(/\/+$/, '');
    const parts = path.split('/');
    if (parts[0] !== root || parts.some((part) => part === '' || part === '.' || part === '..'))
      throw damaged(`it names ${JSON.stringify(name.slice(0, 100))}`);
    const mode = octal(head, 100, 8);
    if (kind === '5') yield { path, mode };
    else if (kind === '0' || kind === '\0') yield { path, mode, bytes: data };
  }
}

function text(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

function octal(bytes: Buffer, at: number, length: number): number {
  const digits = text(bytes, at, length).trim();
  if (!/^[0-7]{1,11}$/.test(digits)) throw damaged('a number in it is none');
  return Number.parseInt(digits, 8);
}

function damaged(why: string): Error {
  return vmError(
    'VM_FILE',
    `the guest's archive is refused: ${why}`,
    'what the guest sends is not to be trusted',
  );
}
