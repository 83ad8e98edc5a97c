/** poll and select. What lies inside is looked at; of what lies outside the host is asked, all at once. */
import { EBADF, EFAULT, EINTR, EINVAL } from './errno';
import { DEVICE_HOST, DEVICE_TTY } from './fs/inode';
import { fileOf, OpenFile } from './fs/open-file';
import { answered, area, OP_POLL, request, waitUntil, WOKEN } from './net/host';
import { PENDING } from './request';
import { copyIn, copyOut, now } from './shim';
import { deliverable, swapMask, unswapMask, waiting } from './signals';
import { deadline, NEVER, park, timedOut, watch } from './task/queue';
import { current } from './task/thread';
import { ttyFd } from './tty';
import { scratch } from './user';

export const POLLIN: u32 = 1;
const POLLPRI: u32 = 2;
export const POLLOUT: u32 = 4;
export const POLLERR: u32 = 8;
export const POLLHUP: u32 = 16;
const POLLNVAL: u32 = 32;
const POLLRDNORM: u32 = 64;
const POLLWRNORM: u32 = 256;
const ALWAYS: u32 = POLLERR | POLLHUP;
const MAX_POLL: u64 = 65536;
/** As many the host can be asked about at once. */
const MAX_HOSTS: u32 = 1024;
const MILLI: u64 = 1_000_000;
const NANO: u64 = 1_000_000_000;

/** The host's descriptor that a file stands for, in part at least; -1 for what is inside. */
export function hostOf(file: OpenFile): i32 {
  if (file.socket !== null) return file.socket!.hostFd;
  if (file.poller !== null) return file.poller!.hostFd;
  const device = file.inode.device;
  if (device === DEVICE_TTY) return ttyFd;
  return device >= DEVICE_HOST && device < DEVICE_TTY ? device - DEVICE_HOST : -1;
}

/** POLLRDNORM and POLLWRNORM are POLLIN and POLLOUT by other names. */
@inline function named(state: u32): u32 {
  return state | ((state & POLLIN) << 6) | ((state & POLLOUT) << 6);
}

/** What of `wanted` is so now, as far as that is decided inside. */
export function ready(file: OpenFile, wanted: u32): u32 {
  return named(stateOf(file)) & (wanted | ALWAYS);
}

function stateOf(file: OpenFile): u32 {
  const pipe = file.pipe;
  if (pipe !== null) {
    let state: u32 = 0;
    if (file.readable) {
      if (pipe.length > 0) state |= POLLIN;
      if (pipe.writers === 0) state |= POLLHUP;
    } else {
      if (pipe.room >= 4096) state |= POLLOUT;
      if (pipe.readers === 0) state |= POLLERR;
    }
    return state;
  }
  if (file.socket !== null) return file.socket!.state();
  if (file.thing !== null) return file.thing!.state();
  const event = file.event;
  if (event !== null) return (event.value > 0 ? POLLIN : 0) | (event.value < u64.MAX_VALUE - 1 ? POLLOUT : 0);
  const timer = file.timer;
  if (timer !== null) return timer.next !== 0 && timer.next <= now(1) ? POLLIN : 0;
  if (file.signals !== 0) return (waiting() & file.signals) !== 0 ? POLLIN : 0;
  if (file.poller !== null) return file.poller!.any() ? POLLIN : 0;
  return hostOf(file) < 0 ? POLLIN | POLLOUT : 0;
}

/** Counts what happened to a file, for those who are told of changes only. */
export function activity(file: OpenFile): u64 {
  if (file.pipe !== null) return file.pipe!.changes;
  if (file.socket !== null) return file.socket!.changes;
  return file.event !== null ? file.event!.changes : 0;
}

/** The call under way is to be made again when a file's readiness changes. */
export function watchFile(file: OpenFile): void {
  if (file.pipe !== null) watch(file.pipe!.queue);
  else if (file.event !== null) watch(file.event!.queue);
  else if (file.timer !== null) watch(file.timer!.queue);
  else if (file.signals !== 0) watch(current.process.signalled);
  else if (file.socket !== null) watch(file.socket!.queue);
  else if (file.thing !== null) watch(file.thing!.queue());
  else if (file.poller !== null) file.poller!.watchAll();
}

/** When a file becomes ready by itself. */
export function deadlineOf(file: OpenFile): u64 {
  return file.timer !== null && file.timer!.next !== 0 ? file.timer!.next : NEVER;
}

// ---- what the host is asked, in the thread's area: struct pollfd --------------------------------------------------------

/** How many there are, and how many the host has answered. */
let hosts: u32 = 0;
let told: u32 = 0;
let until: u64 = NEVER;
let tooMany: bool = false;

function begin(): void {
  hosts = 0;
  tooMany = false;
  told = answered(OP_POLL) && current.waitResult >= 0 ? <u32>load<u64>(current.request, 16) : 0;
  until = NEVER;
}

/** The state of one file; with what the host said of it, if it has been asked. */
function look(file: OpenFile, wanted: u32): u32 {
  let state = ready(file, wanted);
  until = min(until, deadlineOf(file));
  const fd = hostOf(file);
  if (fd < 0) return state;
  if (hosts === MAX_HOSTS) {
    tooMany = true;
    return state;
  }
  const at = area() + <usize>hosts * 8;
  if (hosts < told && load<i32>(at) === fd) state |= <u32>load<u16>(at, 6) & (wanted | ALWAYS);
  store<i32>(at, fd);
  store<u32>(at, wanted & 0xffff, 4);
  hosts++;
  return state;
}

/** Whether the call is over, with `found`: the host has been asked, or need not be. */
function over(found: i64, timeout: u64): bool {
  const asked = answered(OP_POLL) && current.waitResult >= 0;
  if (found > 0) return hosts === 0 || asked;
  if (timeout === 0) return hosts === 0 || asked;
  return timedOut() && (hosts === 0 || asked);
}

/** Asks the host, or waits for what is inside; files have been watched. */
function wait(found: i64, timeout: u64): i64 {
  if (found > 0 || timeout === 0) return request(OP_POLL, area(), hosts, 0, 0, 0, 0);
  const end = min(deadline(timeout), until);
  if (hosts === 0) return park(end);
  if (deliverable() !== 0) return EINTR;
  return request(OP_POLL, area(), hosts, <u64>waitUntil(end), 0, 0, 0);
}

/** What the host answered when that is an error of the call. */
function refused(): i64 {
  if (!answered(OP_POLL)) return 0;
  const result = current.waitResult;
  return result < 0 && result !== WOKEN ? result : 0;
}

// ---- poll ---------------------------------------------------------------------------------------------------------------

function poll(user: u64, count: u64, timeout: u64): i64 {
  if (count > MAX_POLL) return EINVAL;
  const failed = refused();
  if (failed !== 0) return failed;
  let found: i64 = 0;
  begin();
  for (let i: u64 = 0; i < count; i++) {
    const at = user + i * 8;
    if (!copyIn(scratch, at, 8)) return EFAULT;
    const fd = load<i32>(scratch);
    const wanted = load<u16>(scratch, 4);
    let state: u32 = 0;
    if (fd >= 0) {
      const file = fileOf(fd);
      state = file === null ? POLLNVAL : look(file, wanted);
    }
    if (state !== 0) found++;
    store<u16>(scratch, <u16>state);
    if (!copyOut(at + 6, scratch, 2)) return EFAULT;
  }
  if (tooMany) return EINVAL;
  if (over(found, timeout)) return found;
  if (found === 0 && timeout !== 0)
    for (let i: u64 = 0; i < count; i++) {
      if (!copyIn(scratch, user + i * 8, 4)) return EFAULT;
      const file = fileOf(load<u32>(scratch));
      if (file !== null) watchFile(file);
    }
  return wait(found, timeout);
}

/** Milliseconds as calls have them. */
function fromMilli(milliseconds: i64): u64 {
  return milliseconds < 0 ? NEVER : <u64>milliseconds * MILLI;
}

export function sysPoll(user: u64, count: u64, timeout: u64): i64 {
  return poll(user, count, fromMilli(<i64>(<i32>timeout)));
}

let timeFailed: i64 = 0;

/** A struct timespec or timeval, in nanoseconds. Sets `timeFailed`. */
export function timeOf(user: u64, unit: u64): u64 {
  timeFailed = 0;
  if (user === 0) return NEVER;
  if (!copyIn(scratch, user, 16)) {
    timeFailed = EFAULT;
    return 0;
  }
  const seconds = load<i64>(scratch);
  const fraction = load<u64>(scratch, 8);
  if (seconds < 0 || fraction >= NANO / unit) timeFailed = EINVAL;
  return <u64>seconds > 1_000_000_000 ? NEVER : <u64>seconds * NANO + fraction * unit;
}

export function timeFailure(): i64 {
  return timeFailed;
}

/** With another mask while the call waits. */
function masked(result: i64): i64 {
  if (result !== PENDING && result !== EINTR) unswapMask();
  return result;
}

export function sysPpoll(user: u64, count: u64, time: u64, mask: u64, size: u64): i64 {
  const timeout = timeOf(time, 1);
  if (timeFailed !== 0) return timeFailed;
  const failed = swapMask(mask, size);
  return failed !== 0 ? failed : masked(poll(user, count, timeout));
}

// ---- select -------------------------------------------------------------------------------------------------------------

const SET: usize = 128;
const sets: usize = memory.data(384);
const answers: usize = memory.data(384);

@inline function has(set: usize, fd: u32): bool {
  return (load<u8>(set + <usize>(fd >> 3)) & (1 << <u8>(fd & 7))) !== 0;
}

function mark(set: usize, fd: u32): void {
  const at = set + <usize>(fd >> 3);
  store<u8>(at, load<u8>(at) | (1 << <u8>(fd & 7)));
}

function select(count: u64, inputs: u64, outputs: u64, errors: u64, timeout: u64): i64 {
  if (<i32>count < 0 || count > 1024) return EINVAL;
  const failed = refused();
  if (failed !== 0) return failed;
  const bytes = ((count + 63) / 64) * 8;
  memory.fill(sets, 0, 384);
  memory.fill(answers, 0, 384);
  if (inputs !== 0 && !copyIn(sets, inputs, bytes)) return EFAULT;
  if (outputs !== 0 && !copyIn(sets + SET, outputs, bytes)) return EFAULT;
  if (errors !== 0 && !copyIn(sets + 2 * SET, errors, bytes)) return EFAULT;
  let found: i64 = 0;
  begin();
  for (let fd: u32 = 0; fd < <u32>count; fd++) {
    const wantsIn = has(sets, fd);
    const wantsOut = has(sets + SET, fd);
    const wantsError = has(sets + 2 * SET, fd);
    if (!wantsIn && !wantsOut && !wantsError) continue;
    const file = fileOf(fd);
    if (file === null) return EBADF;
    const state = look(file, (wantsIn ? POLLIN : 0) | (wantsOut ? POLLOUT : 0) | (wantsError ? POLLPRI : 0));
    if (wantsIn && (state & (POLLIN | POLLHUP | POLLERR)) !== 0) {
      mark(answers, fd);
      found++;
    }
    if (wantsOut && (state & (POLLOUT | POLLERR)) !== 0) {
      mark(answers + SET, fd);
      found++;
    }
    if (wantsError && (state & POLLPRI) !== 0) {
      mark(answers + 2 * SET, fd);
      found++;
    }
  }
  if (!over(found, timeout)) {
    if (found === 0 && timeout !== 0)
      for (let fd: u32 = 0; fd < <u32>count; fd++) {
        if (!has(sets, fd) && !has(sets + SET, fd)) continue;
        const file = fileOf(fd);
        if (file !== null) watchFile(file);
      }
    return wait(found, timeout);
  }
  if (inputs !== 0 && !copyOut(inputs, answers, bytes)) return EFAULT;
  if (outputs !== 0 && !copyOut(outputs, answers + SET, bytes)) return EFAULT;
  if (errors !== 0 && !copyOut(errors, answers + 2 * SET, bytes)) return EFAULT;
  return found;
}

export function sysSelect(count: u64, inputs: u64, outputs: u64, errors: u64, time: u64): i64 {
  const timeout = timeOf(time, 1000);
  return timeFailed !== 0 ? timeFailed : select(count, inputs, outputs, errors, timeout);
}

/** The last argument points to the mask and its size. */
export function sysPselect6(count: u64, inputs: u64, outputs: u64, errors: u64, time: u64, mask: u64): i64 {
  const timeout = timeOf(time, 1);
  if (timeFailed !== 0) return timeFailed;
  if (mask !== 0 && !copyIn(scratch, mask, 16)) return EFAULT;
  const failed = mask === 0 ? 0 : swapMask(load<u64>(scratch), load<u64>(scratch, 8));
  return failed !== 0 ? failed : masked(select(count, inputs, outputs, errors, timeout));
}
