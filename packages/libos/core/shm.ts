/**
 * Shared memory of System V (shmget(2), shmat(2), shmctl(2)) within the enclave. All its processes have one address space,
 * so a segment has one address, which each attachment gets.
 */
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC } from './errno';
import { isFree } from './memory/places';
import { takeShared, untakeShared } from './memory/take';
import { copyOut, now } from './shim';
import { current } from './task/thread';
import { scratch } from './user';

const PAGE: u64 = 4096;
const IPC_CREAT: u32 = 0o1000;
const IPC_EXCL: u32 = 0o2000;
const IPC_64: u32 = 0x100;
const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const SHM_LOCK: u32 = 11;
const SHM_UNLOCK: u32 = 12;
const SHM_RND: u32 = 0o20000;
const SHM_DEST: u32 = 0o1000;
const MAX_SEGMENTS = 128;
const NANO: u64 = 1_000_000_000;
const STATUS_BYTES: u64 = 112;

class Segment {
  at: u64 = 0;
  attached: u64 = 0;
  removed: bool = false;
  attachedTime: u64 = 0;
  detachedTime: u64 = 0;
  changedTime: u64 = now(0) / NANO;
  creator: i32 = current.process.pid;
  last: i32 = 0;
  constructor(
    public id: i32,
    public key: u32,
    public size: u64,
    public mode: u32,
  ) {}
}

let segments = new Array<Segment>();
let latest: i32 = -1;

function ofId(id: i32): Segment | null {
  for (let i = 0; i < segments.length; i++) if (segments[i].id === id) return segments[i];
  return null;
}

export function sysShmget(key: u64, size: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if (<u32>key !== 0)
    for (let i = 0; i < segments.length; i++) {
      const there = segments[i];
      if (there.key !== <u32>key) continue;
      if ((flags & (IPC_CREAT | IPC_EXCL)) === (IPC_CREAT | IPC_EXCL)) return EEXIST;
      return size > there.size ? EINVAL : there.id;
    }
  if (<u32>key !== 0 && (flags & IPC_CREAT) === 0) return ENOENT;
  if (size === 0 || size > 1 << 40) return EINVAL;
  if (segments.length >= MAX_SEGMENTS) return ENOSPC;
  segments.push(new Segment(++latest, <u32>key, size, flags & 0o777));
  return latest;
}

export function sysShmat(id: u64, hint64: u64, flags: u64): i64 {
  const segment = ofId(<i32>id);
  if (segment === null) return EINVAL;
  let hint = hint64;
  if ((hint & (PAGE - 1)) !== 0) {
    if ((<u32>flags & SHM_RND) === 0) return EINVAL;
    hint &= ~(PAGE - 1);
  }
  if (segment.at === 0) {
    if (hint !== 0 && !isFree(hint, segment.size)) return EINVAL;
    segment.at = takeShared(hint, segment.size);
    if (segment.at === 0) return ENOMEM;
  } else if (hint !== 0 && hint !== segment.at) return EINVAL;
  attach(current.process.pid, segment);
  segment.attachedTime = now(0) / NANO;
  segment.last = current.process.pid;
  return segment.at;
}

function discard(segment: Segment): void {
  if (segment.at !== 0) untakeShared(segment.at, segment.size);
  const kept = new Array<Segment>();
  for (let i = 0; i < segments.length; i++) if (segments[i] !== segment) kept.push(segments[i]);
  segments = kept;
}

export function sysShmdt(at: u64): i64 {
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i];
    if (segment.at !== at) continue;
    const mine = attachments.has(current.process.pid) ? attachments.get(current.process.pid) : null;
    const which = mine === null ? -1 : mine.indexOf(segment);
    if (which < 0) return EINVAL;
    mine!.splice(which, 1);
    detach(current.process.pid, segment);
    return 0;
  }
  return EINVAL;
}

/** Attachments of each process by its number, one entry for each. */
const attachments = new Map<i32, Array<Segment>>();

function attach(pid: i32, segment: Segment): void {
  segment.attached++;
  if (!attachments.has(pid)) attachments.set(pid, new Array<Segment>());
  attachments.get(pid).push(segment);
}

function detach(pid: i32, segment: Segment): void {
  segment.attached--;
  segment.detachedTime = now(0) / NANO;
  segment.last = pid;
  if (segment.removed && segment.attached === 0) discard(segment);
}

/** A child of fork has what its parent has. */
export function copyAttachments(from: i32, to: i32): void {
  if (!attachments.has(from)) return;
  const list = attachments.get(from);
  for (let i = 0; i < list.length; i++) attach(to, list[i]);
}

/** A process ends, or runs another program. */
export function dropAttachments(pid: i32): void {
  if (!attachments.has(pid)) return;
  const list = attachments.get(pid);
  attachments.delete(pid);
  for (let i = 0; i < list.length; i++) detach(pid, list[i]);
}

/** struct shmid64_ds (include/uapi/asm-generic/shmbuf.h, ipcbuf.h). */
function status(segment: Segment, user: u64): i64 {
  memory.fill(scratch, 0, <usize>STATUS_BYTES);
  store<u32>(scratch, segment.key);
  store<u32>(scratch, segment.mode | (segment.removed ? SHM_DEST : 0), 20);
  store<u64>(scratch, segment.size, 48);
  store<u64>(scratch, segment.attachedTime, 56);
  store<u64>(scratch, segment.detachedTime, 64);
  store<u64>(scratch, segment.changedTime, 72);
  store<u32>(scratch, segment.creator, 80);
  store<u32>(scratch, segment.last, 84);
  store<u64>(scratch, segment.attached, 88);
  return copyOut(user, scratch, STATUS_BYTES) ? 0 : EFAULT;
}

export function sysShmctl(id: u64, command: u64, user: u64): i64 {
  const segment = ofId(<i32>id);
  if (segment === null) return EINVAL;
  switch (<u32>command & ~IPC_64) {
    case IPC_RMID: {
      // Nobody finds it by its key any more; who has it keeps it.
      segment.removed = true;
      segment.key = 0;
      if (segment.attached === 0) discard(segment);
      return 0;
    }
    case IPC_STAT:
      return status(segment, user);
    case IPC_SET:
    case SHM_LOCK:
    case SHM_UNLOCK:
      return 0;
    default:
      return EINVAL;
  }
}
