/**
 * inotify on files of memory (include/uapi/linux/inotify.h): who watches a file or folder reads what happened to it. Names
 * of files in watched folders are found when something happens, so an open file that has lost its name tells nobody.
 */
import { EAGAIN, EFAULT, EINVAL } from '../errno';
import { copyOut } from '../shim';
import { NEVER, park, Queue, watch } from '../task/queue';
import { scratch, stringToBytes } from '../user';
import { Inode } from './inode';
import { O_NONBLOCK, OpenFile, Thing } from './open-file';

export const IN_ACCESS: u32 = 1;
export const IN_MODIFY: u32 = 2;
export const IN_ATTRIB: u32 = 4;
export const IN_CLOSE_WRITE: u32 = 8;
export const IN_CLOSE_NOWRITE: u32 = 0x10;
export const IN_OPEN: u32 = 0x20;
const IN_MOVED_FROM: u32 = 0x40;
const IN_MOVED_TO: u32 = 0x80;
export const IN_CREATE: u32 = 0x100;
export const IN_DELETE: u32 = 0x200;
const IN_DELETE_SELF: u32 = 0x400;
const IN_MOVE_SELF: u32 = 0x800;
export const IN_ALL: u32 = 0xfff;
const IN_Q_OVERFLOW: u32 = 0x4000;
const IN_IGNORED: u32 = 0x8000;
const IN_ISDIR: u32 = 0x4000_0000;
const IN_ONESHOT: u32 = 0x8000_0000;
const POLLIN: u32 = 1;
/** As /proc/sys/fs/inotify has them. */
const MOST_EVENTS = 16384;
const HEAD = 16;

class Event {
  constructor(
    public wd: i32,
    public mask: u32,
    public cookie: u32,
    public name: string,
  ) {}

  get bytes(): i32 {
    return this.name === '' ? HEAD : HEAD + ((this.name.length + HEAD) & ~(HEAD - 1));
  }
}

export class Watch {
  /** The child that was named last. */
  latest: Inode | null = null;
  latestName: string = '';
  constructor(
    public owner: Watcher,
    public wd: i32,
    public inode: Inode,
    public mask: u32,
  ) {}

  /** The name of a file in the watched folder, or ''. */
  nameOf(child: Inode): string {
    const entries = this.inode.entries!;
    const latest = this.latestName;
    if (this.latest === child && entries.has(latest) && entries.get(latest) === child) return latest;
    const names = entries.keys();
    for (let i = 0; i < names.length; i++)
      if (entries.get(names[i]) === child) {
        this.latest = child;
        this.latestName = names[i];
        return names[i];
      }
    return '';
  }

  tell(mask: u32, cookie: u32, name: string): void {
    if ((this.mask & mask & IN_ALL) === 0) return;
    this.owner.put(new Event(this.wd, mask, cookie, name));
    if ((this.mask & IN_ONESHOT) !== 0) this.end();
  }

  end(): void {
    this.owner.put(new Event(this.wd, IN_IGNORED, 0, ''));
    this.owner.drop(this);
  }
}

export class Watcher extends Thing {
  events: Array<Event> = new Array<Event>();
  watches: Array<Watch> = new Array<Watch>();
  changed: Queue = new Queue();
  lastWd: i32 = 0;

  queue(): Queue {
    return this.changed;
  }

  state(): u32 {
    return this.events.length > 0 ? POLLIN : 0;
  }

  /** What is said twice in a row is said once. */
  put(event: Event): void {
    const count = this.events.length;
    if (count > 0) {
      const last = this.events[count - 1];
      if (last.wd === event.wd && last.mask === event.mask && last.cookie === event.cookie && last.name === event.name) return;
      if (last.mask === IN_Q_OVERFLOW) return;
    }
    this.events.push(count < MOST_EVENTS ? event : new Event(-1, IN_Q_OVERFLOW, 0, ''));
    this.changed.wake();
  }

  drop(watch: Watch): void {
    const at = this.watches.indexOf(watch);
    if (at >= 0) this.watches.splice(at, 1);
    const here = all.indexOf(watch);
    if (here >= 0) all.splice(here, 1);
    watching = all.length;
  }

  closed(): void {
    while (this.watches.length > 0) this.drop(this.watches[0]);
  }

  read(file: OpenFile, user: u64, length: u64): i64 {
    if (this.events.length === 0) {
      if ((file.flags & O_NONBLOCK) !== 0) return EAGAIN;
      watch(this.changed);
      return park(NEVER, true);
    }
    let done: u64 = 0;
    let taken = 0;
    for (; taken < this.events.length; taken++) {
      const event = this.events[taken];
      const bytes = event.bytes;
      if (length - done < <u64>bytes) break;
      memory.fill(scratch, 0, bytes);
      store<i32>(scratch, event.wd);
      store<u32>(scratch, event.mask, 4);
      store<u32>(scratch, event.cookie, 8);
      store<u32>(scratch, bytes - HEAD, 12);
      if (event.name !== '') stringToBytes(event.name, scratch + HEAD);
      if (!copyOut(user + done, scratch, bytes)) {
        this.events.splice(0, taken);
        return done > 0 ? done : EFAULT;
      }
      done += bytes;
    }
    this.events.splice(0, taken);
    return done > 0 ? done : EINVAL;
  }

  waiting(): u32 {
    let bytes: u32 = 0;
    for (let i = 0; i < this.events.length; i++) bytes += this.events[i].bytes;
    return bytes;
  }
}

/** Of all watchers; how many there are. Whoever changes files asks for nothing else while that is 0. */
const all = new Array<Watch>();

export function add(watch: Watch): void {
  watch.owner.watches.push(watch);
  all.push(watch);
  watching = all.length;
}

export let watching: i32 = 0;
let lastCookie: u32 = 0;

/** Something happened to a file: its folder's watchers are told with its name, then its own. */
export function notify(inode: Inode, mask: u32): void {
  const said = inode.isDirectory ? mask | IN_ISDIR : mask;
  const watches = all.slice(0);
  for (let i = 0; i < watches.length; i++) {
    const folder = watches[i].inode;
    if (!folder.isDirectory || folder === inode || (watches[i].mask & mask) === 0) continue;
    if (inode.isDirectory && inode.parent !== folder) continue;
    const name = watches[i].nameOf(inode);
    if (name !== '') watches[i].tell(said, 0, name);
  }
  for (let i = 0; i < watches.length; i++) if (watches[i].inode === inode) watches[i].tell(said, 0, '');
}

/** Something happened to a file as such: its own watchers are told. */
export function notifySelf(inode: Inode, mask: u32): void {
  const watches = all.slice(0);
  for (let i = 0; i < watches.length; i++) if (watches[i].inode === inode) watches[i].tell(mask, 0, '');
}

/** Something happened to a name. */
export function notifyName(folder: Inode, name: string, inode: Inode, mask: u32, cookie: u32 = 0): void {
  const said = inode.isDirectory ? mask | IN_ISDIR : mask;
  const watches = all.slice(0);
  for (let i = 0; i < watches.length; i++) if (watches[i].inode === folder) watches[i].tell(said, cookie, name);
}

export function notifyMove(source: Inode, oldName: string, target: Inode, newName: string, inode: Inode): void {
  const cookie = ++lastCookie;
  notifyName(source, oldName, inode, IN_MOVED_FROM, cookie);
  notifyName(target, newName, inode, IN_MOVED_TO, cookie);
}

export function notifyMoved(inode: Inode): void {
  notifySelf(inode, IN_MOVE_SELF);
}

/** A file or folder is gone for good, and those who watched it with it. */
export function notifyGone(inode: Inode): void {
  const watches = all.slice(0);
  for (let i = 0; i < watches.length; i++) {
    if (watches[i].inode !== inode) continue;
    watches[i].tell(IN_DELETE_SELF, 0, '');
    if (all.includes(watches[i])) watches[i].end();
  }
}

/** read of a watcher; EINVAL for another thing. */
export function readThing(file: OpenFile, user: u64, length: u64): i64 {
  return file.thing instanceof Watcher ? (<Watcher>file.thing!).read(file, user, length) : EINVAL;
}

/** Bytes that a read would bring, or -1 for another thing. */
export function waitingBytes(file: OpenFile): i64 {
  return file.thing !== null && file.thing instanceof Watcher ? (<Watcher>file.thing!).waiting() : -1;
}
