/** poll and select over descriptors; those of the host are asked outside. */
import { EBADF, EFAULT, EINVAL } from './errno';
import { DEVICE_HOST, DEVICE_TTY } from './fs/inode';
import { fileOf, OpenFile } from './fs/open-file';
import { hostWait, THEN_RETRY } from './request';
import { sooner } from './events';
import { copyIn, copyOut, now } from './shim';
import { waiting } from './signals';
import { deadline, NEVER, park, timedOut, watch } from './task/queue';
import { current } from './task/thread';
import { scratch } from './user';
import { waitResult } from './wait';

const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const POLLERR: u32 = 8;
const POLLHUP: u32 = 16;
const POLLNVAL: u32 = 32;
const MAX_POLL: u64 = 1024;

/** The host's descriptor that input of a file comes from, or -1. */
export function inputOf(file: OpenFile): i32 {
  const device = file.inode.device;
  if (device === DEVICE_TTY) return 0;
  return device >= DEVICE_HOST && device < DEVICE_TTY ? device - DEVICE_HOST : -1;
}

/** What of `wanted` is so now. Input of the host is taken from the latest wait. */
export function ready(file: OpenFile, wanted: u32): u32 {
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
    return state & (wanted | POLLERR | POLLHUP);
  }
  const event = file.event;
  if (event !== null) return wanted & ((event.value > 0 ? POLLIN : 0) | POLLOUT);
  const timer = file.timer;
  if (timer !== null) return timer.next !== 0 && timer.next <= now(1) ? wanted & POLLIN : 0;
  if (file.signals !== 0) return (waiting() & file.signals) !== 0 ? wanted & POLLIN : 0;
  const poller = file.poller;
  if (poller !== null) return poller.any() ? wanted & POLLIN : 0;
  const input = inputOf(file);
  if (input < 0) return wanted & (POLLIN | POLLOUT);
  const arrived = waitResult() > 0 && ((<u32>waitResult() >> input) & 1) !== 0;
  return wanted & (POLLOUT | (arrived ? POLLIN : 0));
}

/** Counts what happened to a file, for those who are told of changes only. */
export function activity(file: OpenFile): u64 {
  if (file.pipe !== null) return file.pipe!.changes;
  return file.event !== null ? file.event!.changes : waitResult() > 0 ? <u64>(++arrivals) : arrivals;
}
let arrivals: u64 = 0;

/** The call under way is to be made again when a file's readiness changes. */
export function watchFile(file: OpenFile): void {
  if (file.pipe !== null) watch(file.pipe!.queue);
  else if (file.event !== null) watch(file.event!.queue);
  else if (file.timer !== null) watch(file.timer!.queue);
  else if (file.signals !== 0) watch(current.process.signalled);
  else if (file.poller !== null) file.poller!.watchAll();
}

/** Waits for the watched files for so many milliseconds (-1: without end), or until a time that a timer has. */
export function parkFor(milliseconds: i64, until: u64): i64 {
  const end = deadline(milliseconds < 0 ? NEVER : <u64>milliseconds * 1_000_000);
  if (timedOut()) return 0;
  return park(min(end, until));
}

/** When a file becomes ready by itself. */
export function deadlineOf(file: OpenFile): u64 {
  return file.timer !== null && file.timer!.next !== 0 ? file.timer!.next : u64.MAX_VALUE;
}

function poll(user: u64, count: u64, milliseconds: i64): i64 {
  if (count > MAX_POLL) return EINVAL;
  let hosts: u32 = 0;
  let found: i64 = 0;
  let until: u64 = u64.MAX_VALUE;
  for (let i: u64 = 0; i < count; i++) {
    const at = user + i * 8;
    if (!copyIn(scratch, at, 8)) return EFAULT;
    const fd = load<i32>(scratch);
    const wanted = load<u16>(scratch, 4);
    let state: u32 = 0;
    if (fd >= 0) {
      const file = fileOf(fd);
      if (file === null) state = POLLNVAL;
      else {
        state = ready(file, wanted);
        until = min(until, deadlineOf(file));
        const input = inputOf(file);
        if (input >= 0 && (wanted & POLLIN) !== 0) hosts |= 1 << input;
      }
    }
    if (state !== 0) found++;
    store<u16>(scratch, <u16>state);
    if (!copyOut(at + 6, scratch, 2)) return EFAULT;
  }
  if (waitResult() >= 0 || (found > 0 && hosts === 0)) return found;
  if (found > 0) return hostWait(hosts, 0, THEN_RETRY);
  if (milliseconds === 0 && hosts === 0) return 0;
  if (hosts === 0) {
    for (let i: u64 = 0; i < count; i++) {
      if (!copyIn(scratch, user + i * 8, 8)) return EFAULT;
      const file = fileOf(load<u32>(scratch));
      if (file !== null) watchFile(file);
    }
    return parkFor(milliseconds, until);
  }
  return hostWait(hosts, sooner(milliseconds, until), THEN_RETRY);
}

export function sysPoll(user: u64, count: u64, timeout: u64): i64 {
  const milliseconds = <i64>(<i32>timeout);
  return poll(user, count, milliseconds < 0 ? -1 : milliseconds);
}

let timeFailed: bool = false;
function timeout(user: u64, fraction: u64): i64 {
  timeFailed = false;
  if (user === 0) return -1;
  if (!copyIn(scratch, user, 16)) {
    timeFailed = true;
    return 0;
  }
  return load<i64>(scratch) * 1000 + (load<i64>(scratch, 8) + <i64>fraction - 1) / <i64>fraction;
}

export function sysPpoll(user: u64, count: u64, time: u64): i64 {
  const milliseconds = timeout(time, 1_000_000);
  return timeFailed ? EFAULT : poll(user, count, milliseconds);
}

const sets: usize = memory.data(384);
const answers: usize = memory.data(384);

function select(count: u64, inputs: u64, outputs: u64, errors: u64, milliseconds: i64): i64 {
  if (<i32>count < 0 || count > 1024) return EINVAL;
  const bytes = ((count + 63) / 64) * 8;
  memory.fill(sets, 0, 384);
  memory.fill(answers, 0, 384);
  if (inputs !== 0 && !copyIn(sets, inputs, bytes)) return EFAULT;
  if (outputs !== 0 && !copyIn(sets + 128, outputs, bytes)) return EFAULT;
  let hosts: u32 = 0;
  let found: i64 = 0;
  let until: u64 = u64.MAX_VALUE;
  for (let fd: u32 = 0; fd < <u32>count; fd++) {
    const bit: u8 = 1 << <u8>(fd & 7);
    const byte = <usize>(fd >> 3);
    const wantsIn = (load<u8>(sets + byte) & bit) !== 0;
    const wantsOut = (load<u8>(sets + 128 + byte) & bit) !== 0;
    if (!wantsIn && !wantsOut) continue;
    const file = fileOf(fd);
    if (file === null) return EBADF;
    const state = ready(file, (wantsIn ? POLLIN : 0) | (wantsOut ? POLLOUT : 0));
    if (wantsIn && (state & (POLLIN | POLLHUP)) !== 0) {
      store<u8>(answers + byte, load<u8>(answers + byte) | bit);
      found++;
    }
    if (wantsOut && (state & (POLLOUT | POLLERR)) !== 0) {
      store<u8>(answers + 128 + byte, load<u8>(answers + 128 + byte) | bit);
      found++;
    }
    until = min(until, deadlineOf(file));
    if (wantsIn && inputOf(file) >= 0) hosts |= 1 << inputOf(file);
  }
  if (found === 0 && hosts === 0 && milliseconds !== 0 && !timedOut()) {
    for (let fd: u32 = 0; fd < <u32>count; fd++) {
      const bits = load<u8>(sets + <usize>(fd >> 3)) | load<u8>(sets + 128 + <usize>(fd >> 3));
      const file = (bits & (1 << <u8>(fd & 7))) !== 0 ? fileOf(fd) : null;
      if (file !== null) watchFile(file);
    }
    return parkFor(milliseconds, until);
  }
  if (waitResult() < 0 && hosts !== 0)
    return hostWait(hosts, found > 0 ? 0 : sooner(milliseconds, until), THEN_RETRY);
  if (inputs !== 0 && !copyOut(inputs, answers, bytes)) return EFAULT;
  if (outputs !== 0 && !copyOut(outputs, answers + 128, bytes)) return EFAULT;
  if (errors !== 0 && !copyOut(errors, answers + 256, bytes)) return EFAULT;
  return found;
}

export function sysSelect(count: u64, inputs: u64, outputs: u64, errors: u64, time: u64): i64 {
  const milliseconds = timeout(time, 1000);
  return timeFailed ? EFAULT : select(count, inputs, outputs, errors, milliseconds);
}

export function sysPselect6(count: u64, inputs: u64, outputs: u64, errors: u64, time: u64): i64 {
  const milliseconds = timeout(time, 1_000_000);
  return timeFailed ? EFAULT : select(count, inputs, outputs, errors, milliseconds);
}
