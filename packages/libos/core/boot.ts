/** The tree at the start: the measured description of the root, devices, standard descriptors. */
import {
  DEVICE_HOST, DEVICE_NULL, DEVICE_RANDOM, DEVICE_TTY, DEVICE_ZERO, Inode, S_IFCHR, S_IFDIR, S_IFLNK,
} from './fs/inode';
import { bootAttestation } from './fs/attestation';
import { OUTSIDE } from './fs/contents';
import { addMount, Outside } from './fs/outside';
import { O_RDWR, O_WRONLY, opened, OpenFile, place } from './fs/open-file';
import { lastName, link, root, walk, walkParent } from './fs/path';
import { bootProc } from './fs/proc';
import { setStore } from './fs/store-folder';
import { hostModes } from './fs/stat';
import { addImage } from './memory/images';
import { manifest } from './shim';
import { firstProcess } from './task/exit';
import { setTty, ttyFd } from './tty';
import { bytesToString } from './user';

/** src/image/manifest.ts writes it. */
const SIGNATURE: u32 = 0x314d534e;
const ENTRY: usize = 64;
const KIND_FOLDER = 2;
const KIND_LINK = 3;
const KIND_START = 4;
const FLAG_READ_ONLY = 1;
/** The store is mounted there; which key it has. */
const FLAG_STORE = 4;
const FLAG_STORE_SIGNER = 8;
/** A folder of the host is mounted there; whether it may be changed. */
const FLAG_MOUNT = 16;
const FLAG_MOUNT_WRITABLE = 32;
/** The key of the store is provisioned: by whom stands where a link has its target. */
const FLAG_STORE_PROVISIONED = 64;

/** Where the program starts. */
let start: string = '/';

/** The program that is run first. */
let main: Inode | null = null;

export function bootRoot(bytes: u64, base: u64): void {
  const at = heap.alloc(<usize>bytes);
  if (!manifest(at, 0, <u32>bytes) || load<u32>(at) !== SIGNATURE) unreachable();
  const count = load<u32>(at, 4);
  let cursor = at + 8;
  for (let i: u32 = 0; i < count; i++) cursor = entry(cursor, base);
  firstProcess()!.cwd = startFolder();
}

/** A folder within a mount is known by name only until it is looked up. */
function startFolder(): Inode {
  let at: Inode = root;
  const names = start.split('/');
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    if (name === '') continue;
    if (at.entries!.has(name)) {
      at = at.entries!.get(name);
      if (!at.isDirectory) unreachable();
      continue;
    }
    if (at.outside === null) unreachable();
    const inode = new Inode(S_IFDIR | 0o755);
    inode.outside = new Outside(at.outside!.mount, name);
    inode.parent = at;
    at = inode;
  }
  return at;
}

function entry(at: usize, base: u64): usize {
  const kind = load<u8>(at);
  const flags = load<u8>(at, 1);
  const mode = <u32>load<u16>(at, 2);
  const pathLength = load<u32>(at, 4);
  const targetLength = load<u32>(at, 48);
  const digests = load<u32>(at, 52);
  const path = bytesToString(at + ENTRY, pathLength);
  const tail = (at + ENTRY + pathLength + targetLength + 7) & ~7;
  const type = kind === KIND_FOLDER ? S_IFDIR : kind === KIND_LINK ? S_IFLNK : <u32>0o100000;
  if (kind === KIND_START) {
    start = path;
    return tail;
  }
  let inode: Inode;
  if (path === '/') inode = root;
  else {
    const parent = walkParent(path, root);
    if (parent === null) unreachable();
    inode = new Inode(type | mode);
    link(parent!, lastName, inode);
  }
  inode.mode = type | mode;
  inode.readOnly = (flags & FLAG_READ_ONLY) !== 0;
  if ((flags & FLAG_MOUNT) !== 0) addMount(inode, path, (flags & FLAG_MOUNT_WRITABLE) !== 0);
  if ((flags & FLAG_STORE_PROVISIONED) !== 0) setStore(inode, 3, at + ENTRY + pathLength, targetLength);
  else if ((flags & FLAG_STORE) !== 0) setStore(inode, (flags & FLAG_STORE_SIGNER) !== 0 ? 2 : 1, 0, 0);
  inode.modified = inode.changed = inode.accessed = load<u64>(at, 16);
  if (kind === KIND_LINK) {
    inode.target = bytesToString(at + ENTRY + pathLength, targetLength);
    inode.size = targetLength;
  } else if (kind !== KIND_FOLDER) {
    inode.size = load<u64>(at, 8);
    inode.rootOffset = load<u64>(at, 24);
    if (digests > 0) {
      inode.digests = tail;
      for (let piece: u32 = 0; piece < digests; piece++) inode.contents!.set(piece, OUTSIDE);
    }
    inode.codePages = load<u32>(at, 56);
    inode.codeBytes = load<u32>(at, 60);
    if (load<u64>(at, 32) !== 0) {
      inode.imageAt = base + load<u64>(at, 32);
      inode.imageSize = load<u64>(at, 40);
      inode.imageTaken = (flags & 2) !== 0;
      // Of what is loaded from the start the interpreter comes from a folder of libraries.
      if (inode.imageTaken && (main === null || !path.includes('/ld-'))) main = inode;
      addImage(inode);
    }
  }
  return tail + <usize>digests * 32;
}

function folder(path: string, mode: u32): Inode {
  const found = walk(path, root, true);
  if (found !== null) {
    // What programs write to is theirs, whatever the root says of it.
    found.readOnly = false;
    return found;
  }
  const parent = walkParent(path, root)!;
  const inode = new Inode(S_IFDIR | mode);
  link(parent, lastName, inode);
  return inode;
}

function device(parent: Inode, name: string, kind: i32): void {
  const inode = new Inode(S_IFCHR | 0o666);
  inode.device = kind;
  link(parent, name, inode);
}

/** Kinds of the host's descriptors: 0 closed, 1 terminal, 2 pipe, 3 file. */
export function bootDevices(kinds: u32): void {
  const dev = folder('/dev', 0o755);
  device(dev, 'null', DEVICE_NULL);
  device(dev, 'zero', DEVICE_ZERO);
  device(dev, 'random', DEVICE_RANDOM);
  device(dev, 'urandom', DEVICE_RANDOM);
  device(dev, 'tty', DEVICE_TTY);
  device(dev, 'full', DEVICE_ZERO);
  dev.entries!.get('full').full = true;
  bootProc(dev, main);
  bootAttestation(dev);
  folder('/dev/shm', 0o1777);
  folder('/tmp', 0o1777);
  const hostMode: u32 = 0o620;
  for (let fd = 0; fd < 3; fd++) {
    const kind = (kinds >> (8 * fd)) & 0xff;
    hostModes[fd] = (kind === 1 ? S_IFCHR : kind === 3 ? 0o100000 : 0o010000) | hostMode;
    if (kind === 0) continue;
    if (kind === 1 && ttyFd < 0) setTty(fd);
    const inode = new Inode(S_IFCHR | hostMode);
    inode.device = DEVICE_HOST + fd;
    // What ttyname finds.
    if (kind === 1) link(folder('/dev/pts', 0o755), fd.toString(), inode);
    place(fd, new OpenFile(inode, kind === 1 ? O_RDWR : fd === 0 ? 0 : O_WRONLY), false);
    opened(inode, 1);
  }
}
