/**
 * Asking for files of the host. Nothing that it says holds longer than one call of the program: each call looks up what its
 * paths name, several components in one request, and is made again with the answers. The program's folders, links and `..`
 * are followed here, so the host is asked only for plain names below the folder that it gave.
 */
import { EIO, ENAMETOOLONG } from '../errno';
import { leftMuch } from '../collection';
import { answered, request } from '../net/host';
import { MAX_THREADS } from '../task/slots';
import { current } from '../task/thread';
import { bytesToString, stringToBytes } from '../user';
import { Inode, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from './inode';
import { isOpen } from './open-file';
import { Absent, isOwn, mounts, Outside, pathWithin, Walk } from './outside';

const OP_FILES: u64 = 60;
/** Operations of OP_FILES (src/run/mounts.ts). */
export const F_WALK: u64 = 1;
export const F_STAT: u64 = 2;
export const F_OPEN: u64 = 3;
export const F_LIST: u64 = 4;
export const F_MKDIR: u64 = 5;
export const F_CREATE: u64 = 6;
export const F_SYMLINK: u64 = 7;
export const F_LINK: u64 = 8;
export const F_UNLINK: u64 = 9;
export const F_RMDIR: u64 = 10;
export const F_RENAME: u64 = 11;
export const F_CHMOD: u64 = 12;
export const F_CHOWN: u64 = 13;
export const F_TIMES: u64 = 14;
export const F_TRUNCATE: u64 = 15;
export const F_ALLOCATE: u64 = 16;
export const F_SYNC: u64 = 17;
export const F_SPACE: u64 = 18;
export const F_APPEND: u64 = 19;
export const F_READ: u64 = 20;

/** Bytes of a request or of its answer; native/src/host.c knows it too. The answer's length stands behind. */
export const FILES_ROOM: usize = 65536;
/** An answer about a file: i32 errno, u32 mode, u64 identity, u64 size, u64 blocks, three u64 times, u32 links, uid, gid, target. */
export const RECORD: usize = 72;
const SIZE_LIMIT: u64 = 1 << 62;
const TARGET_LIMIT: u32 = 4095;
const MOST_NAMES = 32;
const NAMES_BYTES = 4096;
/** What is remembered at most before all is forgotten. */
const REMEMBERED = 4096;
/** An inode with its name and folder leaves as much behind as so many calls. */
const LITTER = 8;
const ABSENT = 256;

const areas = new StaticArray<usize>(MAX_THREADS);

/** The calling thread's. */
export function filesArea(): usize {
  let at = unchecked(areas[current.slot]);
  if (at === 0) {
    at = heap.alloc(FILES_ROOM + 8);
    areas[current.slot] = at;
  }
  return at;
}

@inline export function filesLength(): usize {
  return <usize>load<u32>(filesArea() + FILES_ROOM);
}

/** Counts the answers: what is known is of this call if it was said after its beginning. */
let moment: u64 = 0;
let remembered = 0;

function began(): u64 {
  if (current.lookedFrom === 0) {
    current.touched = true;
    current.lookedFrom = ++moment;
  }
  return current.lookedFrom;
}

/** Whether the call is made again because this operation is over. Taken once: `current.waitResult` is its result. */
export function filesAnswered(op: u64): bool {
  if (!answered(OP_FILES) || load<u64>(current.request, 16) !== op) return false;
  store<u64>(current.request, 0);
  return true;
}

/** Strings for a request, each with a zero behind it; how many bytes there are, from `at` on. */
export function putString(text: string, at: usize): usize {
  return at + stringToBytes(text, filesArea() + at) + 1;
}

/** Puts which mount it is, and a path in it. */
export function putPath(inode: Inode, path: string): usize {
  return putString(path, putString(inode.outside!.mount.path, 0));
}

/** Asks; the call is made again. `fd` is -1 for what is named by a path. */
export function files(op: u64, fd: i32, a: u64, b: u64, length: usize): i64 {
  current.touched = true;
  // What is asked for now is not answered yet, whatever the call does until it returns.
  current.again = false;
  return request(OP_FILES, filesArea(), op, <u64>(<i64>fd), a, b, length);
}

/** Folders of which entries are remembered. */
let folders = new Array<Inode>();

/** Also of those that are open or stood in: what is open stays, what is known of names goes. */
function forgetAll(): void {
  remembered = 0;
  for (let i = 0; i < folders.length; i++) {
    const folder = folders[i];
    const entries = folder.entries!;
    const kept = new Map<string, Inode>();
    if (folder === folder.outside!.mount.root) {
      const names = entries.keys();
      for (let k = 0; k < names.length; k++)
        if (isOwn(folder, entries.get(names[k]))) kept.set(names[k], entries.get(names[k]));
    }
    folder.entries = kept;
    folder.outside!.absent = null;
    folder.outside!.listed = false;
  }
  folders = new Array<Inode>();
  for (let i = 0; i < mounts.length; i++) {
    const mount = mounts[i];
    const known = mount.known;
    mount.known = new Map<u64, Inode>();
    const numbers = known.keys();
    for (let k = 0; k < numbers.length; k++)
      if (isOpen(known.get(numbers[k]))) mount.known.set(numbers[k], known.get(numbers[k]));
  }
}

function typeOf(at: usize): u32 {
  const type = load<u32>(at, 4) & S_IFMT;
  if (type === S_IFREG || type === S_IFDIR || type === S_IFLNK || type === S_IFSOCK || type === S_IFIFO) return type;
  return type === S_IFCHR || type === 0o060000 ? type : 0;
}

/** Whether `length` bytes at `at` are an answer about a file that can be. */
function isRecord(at: usize, length: usize): bool {
  if (length < RECORD || load<u64>(at, 16) > SIZE_LIMIT) return false;
  const type = typeOf(at);
  const target = load<u32>(at, 68);
  if (type === 0 || (type === S_IFLNK) !== (target > 0)) return false;
  if (target > TARGET_LIMIT || <usize>target > length - RECORD) return false;
  for (let i: u32 = 0; i < target; i++) if (load<u8>(at + RECORD + i) === 0) return false;
  return true;
}

/** Takes over what was said of a file. */
function learn(inode: Inode, at: usize): void {
  const node = inode.outside!;
  inode.mode = typeOf(at) | (load<u32>(at, 4) & 0o7777);
  node.identity = load<u64>(at, 8);
  inode.size = load<u64>(at, 16);
  node.blocks = load<u64>(at, 24);
  inode.accessed = load<u64>(at, 32);
  inode.modified = load<u64>(at, 40);
  inode.changed = load<u64>(at, 48);
  inode.links = load<u32>(at, 56);
  inode.uid = load<u32>(at, 60);
  inode.gid = load<u32>(at, 64);
  inode.readOnly = !node.mount.writable;
  if (inode.isLink) inode.target = bytesToString(at + RECORD, load<u32>(at, 68));
  node.seen = ++moment;
}

/** The inode of a name in a folder of the host, with what was said of it. */
export function remember(folder: Inode, name: string, at: usize): Inode {
  const mount = folder.outside!.mount;
  const entries = folder.entries!;
  const identity = load<u64>(at, 8);
  const type = typeOf(at);
  let inode: Inode | null = entries.has(name) ? entries.get(name) : null;
  if (inode !== null && (inode.outside!.identity !== identity || (inode.mode & S_IFMT) !== type)) inode = null;
  // Other names of a file are the same file; a folder has one place.
  if (inode === null && type === S_IFREG && mount.known.has(identity)) inode = mount.known.get(identity);
  if (inode === null) {
    inode = new Inode(type);
    inode.outside = new Outside(mount, name);
    if (type === S_IFREG) mount.known.set(identity, inode);
    remembered++;
    leftMuch(LITTER);
  }
  if (!folder.outside!.listed) {
    folder.outside!.listed = true;
    folders.push(folder);
  }
  entries.set(name, inode);
  inode.outside!.name = name;
  inode.parent = folder;
  learn(inode, at);
  return inode;
}

function miss(folder: Inode, name: string, code: i64): void {
  const node = folder.outside!;
  if (node.absent === null || node.absent!.size >= ABSENT) node.absent = new Map<string, Absent>();
  node.absent!.set(name, new Absent(code, ++moment));
  folder.entries!.delete(name);
}

/** A name has changed, so that nothing is known of it. */
export function forgetName(folder: Inode, name: string): void {
  if (folder.entries!.has(name) && !isOwn(folder, folder.entries!.get(name))) folder.entries!.delete(name);
  if (folder.outside!.absent !== null) folder.outside!.absent!.delete(name);
}

/** Takes the answer to a walk that this thread asked for. */
function takeWalk(): void {
  if (!filesAnswered(F_WALK)) return;
  const walk = current.walk!;
  current.walk = null;
  const names = walk.names;
  let folder = walk.folder;
  if (current.waitResult < 0) {
    miss(folder, names[0], current.waitResult);
    return;
  }
  const area = filesArea();
  const length = filesLength();
  let done: usize = 0;
  for (let i = 0; i < names.length; i++) {
    const at = area + done;
    const code: i64 = length - done >= RECORD ? load<i32>(at) : i === 0 ? EIO : 0;
    // Fewer answers than names: the rest is asked for when it is needed.
    if (length - done < RECORD && i > 0) return;
    if (code !== 0 || !isRecord(at, length - done)) {
      miss(folder, names[i], code < 0 && code >= -4095 ? code : EIO);
      return;
    }
    const inode = remember(folder, names[i], at);
    if (!inode.isDirectory) return;
    folder = inode;
    done += (RECORD + <usize>load<u32>(at, 68) + 7) & ~7;
  }
}

/** Why `find` found nothing; PENDING when the call is to be made again. */
export let findFailure: i64 = 0;

/** The file of a name in a folder of the host, or null with `findFailure`. `rest` is the path behind it. */
export function find(folder: Inode, name: string, rest: string): Inode | null {
  takeWalk();
  const entries = folder.entries!;
  const since = began();
  if (entries.has(name)) {
    const inode = entries.get(name);
    if (isOwn(folder, inode) || inode.outside!.seen > since) return inode;
  }
  const absent = folder.outside!.absent;
  if (absent !== null && absent.has(name) && absent.get(name).seen > since) {
    findFailure = absent.get(name).code;
    return null;
  }
  findFailure = askWalk(folder, name, rest);
  return null;
}

function askWalk(folder: Inode, name: string, rest: string): i64 {
  if (remembered > REMEMBERED) forgetAll();
  const names = new Array<string>();
  names.push(name);
  const base = pathWithin(folder);
  if (base.length + name.length > NAMES_BYTES) return ENAMETOOLONG;
  let bytes = name.length;
  let i = 0;
  while (names.length < MOST_NAMES) {
    while (i < rest.length && rest.charCodeAt(i) === 47) i++;
    let end = i;
    while (end < rest.length && rest.charCodeAt(end) !== 47) end++;
    const next = rest.substring(i, end);
    i = end;
    if (next === '.') continue;
    if (next === '' || next === '..' || next.length > 255) break;
    bytes += next.length + 1;
    if (bytes > NAMES_BYTES) break;
    names.push(next);
  }
  let length = putPath(folder, base);
  for (let k = 0; k < names.length; k++) length = putString(names[k], length);
  current.walk = new Walk(folder, names);
  return files(F_WALK, -1, <u64>names.length, 0, length);
}

/** Makes sure that what is known of a file is of this call: 0, PENDING, or an errno. `fd` is its descriptor of the host, or -1. */
export function look(inode: Inode, fd: i32 = -1): i64 {
  const node = inode.outside!;
  if (filesAnswered(F_STAT)) {
    if (current.waitResult < 0) return current.waitResult;
    const at = filesArea();
    if (load<i32>(at) !== 0 || !isRecord(at, filesLength()) || typeOf(at) !== (inode.mode & S_IFMT)) return EIO;
    learn(inode, at);
    return 0;
  }
  takeWalk();
  // A folder that was removed is what it was.
  if (node.seen > began() || (inode.isDirectory && inode.links === 0)) return 0;
  return files(F_STAT, fd, 0, 0, putPath(inode, fd < 0 ? pathWithin(inode) : ''));
}
