/**
 * epoll. What lies outside is watched by an epoll of the host, which is asked in one request; what lies inside is looked at
 * before and after.
 */
import { EBADF, EEXIST, EFAULT, EINTR, EINVAL, ELOOP, EMFILE, ENOENT, EPERM } from './errno';
import { closeLater } from './net/closing';
import { DEVICE_HOST, Inode } from './fs/inode';
import { fileOf, install, O_CLOEXEC, O_RDWR, opened, OpenFile, Poller } from './fs/open-file';
import {
  answered, area, net, NET_EPOLL, netAnswered, OP_EPOLL_CTL, OP_EPOLL_WAIT, request, waitUntil, WOKEN,
} from './net/host';
import { activity, deadlineOf, hostOf, ready, timeFailure, timeOf, watchFile } from './poll';
import { PENDING } from './request';
import { copyIn, copyOut } from './shim';
import { deliverable, swapMask, unswapMask } from './signals';
import { deadline, NEVER, park, timedOut } from './task/queue';
import { current } from './task/thread';
import { scratch } from './user';

const EPOLLERR_HUP: u32 = 0x18;
const EPOLLEXCLUSIVE: u32 = 1 << 28;
const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLET: u32 = 1 << 31;
const REPORTED: u32 = 0x27ff;
/** What the host is told of a watch. */
const TOLD: u32 = REPORTED | EPOLLEXCLUSIVE | EPOLLONESHOT | EPOLLET;
const MAX_EVENTS: u64 = 65536;
/** As many the host can tell at once. */
const MAX_HOSTS: u64 = 1024;
const EVENT: u64 = 12;
const MAX_DEPTH = 5;
const ADD: u32 = 1;
const DELETE: u32 = 2;
const MODIFY: u32 = 3;

/** What an epoll watches of one descriptor. */
class Watch {
  lastActivity: u64 = u64.MAX_VALUE;
  lastState: u32 = 0;
  /** By which the host names it. */
  number: u32 = 0;
  /** The wait in which the host told of it. */
  round: u64 = 0;
  /** The host's descriptor; -1 for what is inside. */
  hostFd: i32 = -1;
  constructor(
    public fd: i32,
    public file: OpenFile,
    public events: u32,
    public data: u64,
  ) {}
}

class Epoll extends Poller {
  watches: Map<i32, Watch> = new Map<i32, Watch>();
  /** Those that lie inside, wholly or in part. */
  inside: Array<Watch> = new Array<Watch>();
  /** Those of the host, by number. */
  outside: Map<u32, Watch> = new Map<u32, Watch>();
  latest: u32 = 0;
  /** Where looking begins, so that everybody's turn comes. */
  turn: i32 = 0;
  round: u64 = 0;

  any(): bool {
    for (let i = 0; i < this.inside.length; i++) if (fresh(this.inside[i]) !== 0) return true;
    return false;
  }

  watchAll(): void {
    for (let i = 0; i < this.inside.length; i++) watchFile(this.inside[i].file);
  }

  closed(): void {
    if (this.hostFd >= 0) closeLater(this.hostFd);
    this.hostFd = -1;
  }

  drop(watch: Watch): void {
    this.watches.delete(watch.fd);
    const at = this.inside.indexOf(watch);
    if (at >= 0) this.inside.splice(at, 1);
    if (watch.number !== 0) this.outside.delete(watch.number);
  }

  add(watch: Watch): void {
    this.watches.set(watch.fd, watch);
    if (watch.hostFd >= 0) {
      watch.number = ++this.latest;
      this.outside.set(watch.number, watch);
    }
    if (watch.hostFd < 0 || watch.file.poller !== null) this.inside.push(watch);
  }

  /** The known watch of a descriptor: another file may have its number by now. */
  find(fd: i32, file: OpenFile): Watch | null {
    if (!this.watches.has(fd)) return null;
    const watch = this.watches.get(fd);
    if (watch.file === file) return watch;
    this.drop(watch);
    return null;
  }

  /** Whether this one or one that it watches watches `other`; also true when that is too deep to tell. */
  reaches(other: Epoll, depth: i32): bool {
    if (this === other || depth > MAX_DEPTH) return true;
    for (let i = 0; i < this.inside.length; i++) {
      const poller = this.inside[i].file.poller;
      if (poller !== null && (<Epoll>poller).reaches(other, depth + 1)) return true;
    }
    return false;
  }
}

/** What of a watch inside is to be told. */
function fresh(watch: Watch): u32 {
  const wanted = watch.events & REPORTED;
  if (wanted === 0 || watch.file.references === 0) return 0;
  const state = ready(watch.file, wanted);
  if (state === 0 || (watch.events & EPOLLET) === 0) return state;
  return (state & ~watch.lastState) === 0 && activity(watch.file) === watch.lastActivity ? 0 : state;
}

export function sysEpollCreate1(flags: u64): i64 {
  if ((<u32>flags & ~O_CLOEXEC) !== 0) return EINVAL;
  const file = new OpenFile(new Inode(0o600), O_RDWR);
  file.poller = new Epoll();
  const fd = install(file, 0, flags !== 0);
  if (fd >= 0) opened(file.inode, 1);
  return fd < 0 ? EMFILE : fd;
}

export function sysEpollCreate(size: u64): i64 {
  return <i32>size <= 0 ? EINVAL : sysEpollCreate1(0);
}

function epollOf(file: OpenFile | null): Epoll | null {
  return file === null || file.poller === null ? null : <Epoll>file.poller!;
}

/** Makes the host's epoll of a set: 0, PENDING, or an error. */
function outsideOf(set: Epoll): i64 {
  if (set.hostFd >= 0) return 0;
  if (!netAnswered(NET_EPOLL)) return net(NET_EPOLL, 0, 0, 0, 0);
  if (current.waitResult < 0) return current.waitResult;
  set.hostFd = <i32>current.waitResult;
  // The answer is used: another set's is another request.
  current.again = false;
  current.touched = true;
  return 0;
}

export function sysEpollCtl(epoll: u64, operation64: u64, fd: u64, event: u64): i64 {
  const operation = <u32>operation64;
  const own = fileOf(epoll);
  const file = fileOf(fd);
  if (own === null || file === null) return EBADF;
  const set = epollOf(own);
  if (set === null || file === own) return EINVAL;
  if (operation !== DELETE && !copyIn(scratch, event, EVENT)) return EFAULT;
  const events = load<u32>(scratch) | EPOLLERR_HUP;
  const data = load<u64>(scratch, 4);
  // Files, folders and devices without end are always ready, and cannot be watched.
  const device = file.inode.device;
  if (file.special === 0 && ((file.inode.isFile && device === 0) || file.inode.isDirectory || (device > 0 && device < DEVICE_HOST)))
    return EPERM;
  if (operation < ADD || operation > MODIFY) return EINVAL;
  const inner = epollOf(file);
  if (operation === ADD && inner !== null) {
    if (inner.reaches(set, 0)) return ELOOP;
    const failed = outsideOf(inner);
    if (failed !== 0) return failed;
  }
  const known = set.find(<i32>fd, file);
  if (operation === ADD ? known !== null : known === null) return operation === ADD ? EEXIST : ENOENT;
  const hostFd = known !== null ? known.hostFd : hostOf(file);
  if (hostFd >= 0) {
    const failed = outsideOf(set);
    if (failed !== 0) return failed;
    if (!answered(OP_EPOLL_CTL)) {
      const number = known !== null ? known.number : set.latest + 1;
      return request(OP_EPOLL_CTL, set.hostFd, operation, hostFd, events & TOLD, number, 0);
    }
    if (current.waitResult < 0) return current.waitResult;
  }
  if (operation === DELETE) {
    set.drop(known!);
  } else if (operation === MODIFY) {
    known!.events = events;
    known!.data = data;
    known!.lastState = 0;
    known!.lastActivity = u64.MAX_VALUE;
  } else {
    const watch = new Watch(<i32>fd, file, events, data);
    watch.hostFd = hostFd;
    set.add(watch);
  }
  return 0;
}

/** Puts one event where the program wants it. */
function put(user: u64, at: u64, watch: Watch, state: u32): bool {
  store<u32>(scratch, state);
  store<u64>(scratch, watch.data, 4);
  if (!copyOut(user + at * EVENT, scratch, EVENT)) return false;
  if ((watch.events & EPOLLONESHOT) !== 0) watch.events &= ~REPORTED;
  return true;
}

/** Events of what is inside; how many, or -1 for memory that is not there. */
function takeInside(set: Epoll, user: u64, from: u64, limit: u64): i64 {
  let found = from;
  const inside = set.inside;
  const first = set.turn < inside.length ? set.turn : 0;
  for (let n = 0; n < inside.length && found < limit; n++) {
    const i = (first + n) % inside.length;
    const watch = inside[i];
    if (watch.round === set.round) continue;
    const state = fresh(watch);
    if (state === 0) {
      if (ready(watch.file, watch.events & REPORTED) === 0) watch.lastState = 0;
      continue;
    }
    if ((watch.events & EPOLLET) !== 0) {
      watch.lastActivity = activity(watch.file);
      watch.lastState = state;
    }
    if (!put(user, found, watch, state)) return -1;
    found++;
    set.turn = i + 1;
  }
  return found;
}

/** Events that the host told of. Numbers that are not known any more are of descriptors that have been closed. */
function takeOutside(set: Epoll, user: u64, from: u64, limit: u64): i64 {
  let found = from;
  const count = current.waitResult;
  for (let i: i64 = 0; i < count && found < limit; i++) {
    const at = area() + <usize>(i * EVENT);
    const number = load<u64>(at, 4);
    if (number > u32.MAX_VALUE || !set.outside.has(<u32>number)) continue;
    const watch = set.outside.get(<u32>number);
    const state = load<u32>(at) & (watch.events & REPORTED);
    if (state === 0) continue;
    watch.round = set.round;
    if (!put(user, found, watch, state)) return -1;
    found++;
  }
  return found;
}

function forget(set: Epoll): u64 {
  let until = NEVER;
  for (let i = set.inside.length - 1; i >= 0; i--) {
    const watch = set.inside[i];
    if (watch.file.references === 0) set.drop(watch);
    else until = min(until, deadlineOf(watch.file));
  }
  return until;
}

function wait(epoll: u64, user: u64, most: u64, timeout: u64): i64 {
  const file = fileOf(epoll);
  if (file === null) return EBADF;
  const set = epollOf(file);
  if (set === null || <i32>most <= 0) return EINVAL;
  const limit = min(<u64>(<u32>most), MAX_EVENTS);
  const told = min(limit, MAX_HOSTS);
  const outside = set.outside.size > 0 || set.hostFd >= 0;
  const until = set.inside.length === 0 ? NEVER : forget(set);
  const asked = answered(OP_EPOLL_WAIT);
  if (asked && current.waitResult < 0 && current.waitResult !== WOKEN) return current.waitResult;
  if (asked || !outside) {
    let found: i64 = 0;
    set.round++;
    if (asked && current.waitResult > 0) found = takeOutside(set, user, 0, limit);
    if (found >= 0) found = takeInside(set, user, found, limit);
    if (found < 0) return EFAULT;
    if (found > 0) return found;
    if (timeout === 0 || timedOut()) return 0;
    set.watchAll();
    const end = min(deadline(timeout), until);
    if (!outside) return park(end);
    if (deliverable() !== 0) return EINTR;
    return request(OP_EPOLL_WAIT, set.hostFd, area(), told, <u64>waitUntil(end), 0, 0);
  }
  // The host first: what happens inside is told once only, and this is not the last time that the call is made.
  if (set.inside.length > 0) {
    if (timeout === 0 || set.any()) return request(OP_EPOLL_WAIT, set.hostFd, area(), told, 0, 0, 0);
    set.watchAll();
  }
  // A signal that the mask of this call lets through comes behind what has happened already.
  const waits = timeout !== 0 && deliverable() === 0;
  return request(OP_EPOLL_WAIT, set.hostFd, area(), told, waits ? <u64>waitUntil(min(deadline(timeout), until)) : 0, 0, 0);
}

export function sysEpollWait(epoll: u64, user: u64, most: u64, timeout: u64): i64 {
  const milliseconds = <i64>(<i32>timeout);
  return wait(epoll, user, most, milliseconds < 0 ? NEVER : <u64>milliseconds * 1_000_000);
}

function masked(result: i64): i64 {
  if (result !== PENDING && result !== EINTR) unswapMask();
  return result;
}

export function sysEpollPwait(epoll: u64, user: u64, most: u64, timeout: u64, mask: u64, size: u64): i64 {
  const failed = swapMask(mask, size);
  return failed !== 0 ? failed : masked(sysEpollWait(epoll, user, most, timeout));
}

export function sysEpollPwait2(epoll: u64, user: u64, most: u64, time: u64, mask: u64, size: u64): i64 {
  const timeout = timeOf(time, 1);
  if (timeFailure() !== 0) return timeFailure();
  const failed = swapMask(mask, size);
  return failed !== 0 ? failed : masked(wait(epoll, user, most, timeout));
}
