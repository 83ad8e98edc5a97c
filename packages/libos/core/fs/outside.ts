/** Files and folders of the host: what of them is known inside. Everything here was said by the host, and checked. */
import { Inode } from './inode';

/** A folder of the host where the image has a place for one. */
export class Mount {
  /** Open or recently seen files by what the host says they are, so that names of the same file are one. */
  known: Map<u64, Inode> = new Map<u64, Inode>();
  constructor(
    public path: string,
    public root: Inode,
    public writable: bool,
    public device: u64,
  ) {}
}

/** A name that was not there, or could not be looked up, and when that was. */
export class Absent {
  constructor(
    public code: i64,
    public seen: u64,
  ) {}
}

/** Of an inode that stands for a file or folder of the host. Names lead to it: it has the latest that was looked up. */
export class Outside {
  /** When the host spoke of it last. */
  seen: u64 = 0;
  identity: u64 = 0;
  blocks: u64 = 0;
  absent: Map<string, Absent> | null = null;
  /** Whether entries of this folder are remembered (hostfs.ts knows of it then). */
  listed: bool = false;
  constructor(
    public mount: Mount,
    public name: string,
  ) {}
}

export const mounts = new Array<Mount>();

/** Makes a folder of the root the place of a folder of the host. What the root has below it is hidden, but for other mounts. */
export function addMount(folder: Inode, path: string, writable: bool): void {
  const mount = new Mount(path, folder, writable, 0x40 + <u64>mounts.length);
  folder.outside = new Outside(mount, '');
  folder.readOnly = !writable;
  folder.entries = new Map<string, Inode>();
  mounts.push(mount);
}

/** Whether an entry of a folder of the host is one of the image's own: another mount, or a folder on the way to it. */
@inline export function isOwn(folder: Inode, entry: Inode): bool {
  return entry.outside === null || entry.outside!.mount !== folder.outside!.mount;
}

/** A path relative to the mount; '' for the mounted folder itself. */
export function pathWithin(inode: Inode): string {
  let path = '';
  let at = inode;
  const root = inode.outside!.mount.root;
  while (at !== root) {
    path = path === '' ? at.outside!.name : `${at.outside!.name}/${path}`;
    at = at.parent!;
  }
  return path;
}

/** The path of a name in a folder. */
export function pathOfName(folder: Inode, name: string): string {
  const path = pathWithin(folder);
  return path === '' ? name : `${path}/${name}`;
}

export function sameMount(a: Inode, b: Inode): bool {
  return a.outside !== null && b.outside !== null && a.outside!.mount === b.outside!.mount;
}

/** A folder's entries but for `.` and `..`, in ascending order of their bytes. */
export class Listing {
  names: Array<string> = new Array<string>();
  numbers: Array<u64> = new Array<u64>();
  types: Array<u8> = new Array<u8>();
  complete: bool = false;
}

/** The names that a thread has asked for, from a folder on. */
export class Walk {
  constructor(
    public folder: Inode,
    public names: Array<string>,
  ) {}
}
