/**
 * Timers that end in signals: alarm, setitimer, timer_create. The time of the processor is not counted, so timers on its
 * clocks run as time does. The host is asked to call when the earliest is due (native/src/attend.c); it can be late, not early.
 */
import { EAGAIN, EFAULT, EINVAL } from '../errno';
import { copyIn, copyOut, now } from '../shim';
import { raiseFor, sendTo, SI_KERNEL, SI_TIMER } from '../signals';
import { clockNow, known } from '../time';
import { scratch, storeU32 } from '../user';
import { setAlarm } from './outbox';
import { Process } from './process';
import { NEVER } from './queue';
import { current, SENDER, Thread, threadOf } from './thread';

const NANO: u64 = 1_000_000_000;
const MICRO: u64 = 1000;
const MAX_TIMERS = 1024;
const MAX_SECONDS: u64 = 9_000_000_000;
const SIGALRM: u64 = 14;
const SIGEV_SIGNAL = 0;
const SIGEV_NONE = 1;
const SIGEV_THREAD_ID = 4;
const TIMER_ABSTIME: u64 = 1;
const DELAYTIMER_MAX: u64 = 0x7fff_ffff;

class Timer {
  /** On clock 1; 0 when it does not run. */
  next: u64 = 0;
  interval: u64 = 0;
  /** Expirations that the latest signal stands for, beside its own. */
  overrun: u64 = 0;

  constructor(
    public id: i32,
    public process: Process,
    public thread: Thread | null,
    public clock: i32,
    public notify: i32,
    public signal: u64,
    public value: u64,
  ) {}

  left(): u64 {
    if (this.next === 0) return 0;
    const present = now(1);
    return this.next > present ? this.next - present : 1;
  }
}

/** Those of timer_create, and the three of setitimer of each process (negative numbers). */
const timers = new Array<Timer>();
let earliest: u64 = NEVER;

function findEarliest(): void {
  earliest = NEVER;
  for (let i = 0; i < timers.length; i++) {
    const next = timers[i].next;
    if (next !== 0 && timers[i].notify !== SIGEV_NONE) earliest = min(earliest, next);
  }
  setAlarm(earliest);
}

function fire(timer: Timer): void {
  const waits = timer.id >= 0 && stillPending(timer);
  if (waits) timer.overrun = min<u64>(timer.overrun + 1, DELAYTIMER_MAX);
  else timer.overrun = 0;
  if (timer.interval === 0) timer.next = 0;
  else {
    const missed = (now(1) - timer.next) / timer.interval;
    timer.overrun = min<u64>(timer.overrun + missed, DELAYTIMER_MAX);
    timer.next += (missed + 1) * timer.interval;
  }
  if (waits) tellOverrun(timer);
  if (waits || timer.notify === SIGEV_NONE) return;
  if (timer.id < 0) {
    sendTo(timer.process, timer.signal, SI_KERNEL, 0, 0);
    return;
  }
  // si_timerid and si_overrun lie where a sender's numbers do.
  const thread = timer.thread;
  if (thread === null) sendTo(timer.process, timer.signal, SI_TIMER, timer.value, timer.id, <i32>timer.overrun);
  else raiseFor(thread, timer.signal, SI_TIMER, timer.value, timer.id, <i32>timer.overrun);
}

/** The signal that waits says how often it stands for others. */
function tellOverrun(timer: Timer): void {
  const thread = timer.thread;
  const at = (thread === null ? timer.process.senders : thread.senders) + <usize>timer.signal * SENDER;
  if (load<i32>(at) === SI_TIMER && load<i32>(at, 4) === timer.id) store<i32>(at, <i32>timer.overrun, 16);
}

function stillPending(timer: Timer): bool {
  const thread = timer.thread;
  const pending = thread === null ? timer.process.pending : thread.pending;
  return (pending & ((<u64>1) << (timer.signal - 1))) !== 0;
}

/** Sends what is due. */
export function runTimers(): void {
  if (earliest === NEVER || now(1) < earliest) return;
  const present = now(1);
  for (let i = 0; i < timers.length; i++) {
    const timer = timers[i];
    if (timer.next !== 0 && timer.next <= present) fire(timer);
  }
  findEarliest();
}

/** Nanoseconds until the earliest timer; -1 when there is none. */
export function untilTimers(): i64 {
  if (earliest === NEVER) return -1;
  const present = now(1);
  return earliest > present ? <i64>(earliest - present) : 0;
}

/** A process or one of its threads ends, or a process runs another program: its timers go (`thread` null: all but none). */
export function dropTimers(process: Process, thread: Thread | null, keepIntervals: bool): void {
  for (let i = timers.length - 1; i >= 0; i--) {
    const timer = timers[i];
    if (timer.process !== process || (thread !== null && timer.thread !== thread)) continue;
    if (keepIntervals && timer.id < 0) continue;
    timers.splice(i, 1);
  }
  findEarliest();
}

// ---- alarm and setitimer ---------------------------------------------------------------------------------------------

/** The interval timer of a kind (0 real, 1 virtual, 2 profiling) of the process; null when it has never run. */
function intervalTimer(which: i32): Timer | null {
  for (let i = 0; i < timers.length; i++)
    if (timers[i].id === -1 - which && timers[i].process === current.process) return timers[i];
  return null;
}

function setInterval(which: i32, value: u64, interval: u64): void {
  let timer = intervalTimer(which);
  if (timer === null) {
    if (value === 0) return;
    const signal: u64 = which === 0 ? SIGALRM : which === 1 ? 26 : 27;
    timer = new Timer(-1 - which, current.process, null, 1, SIGEV_SIGNAL, signal, 0);
    timers.push(timer);
  }
  timer.next = value === 0 ? 0 : now(1) + value;
  timer.interval = interval;
  findEarliest();
}

export function sysAlarm(seconds: u64): i64 {
  const timer = intervalTimer(0);
  const left = timer === null ? 0 : timer.left();
  setInterval(0, <u64>(<u32>seconds) * NANO, 0);
  // Whole seconds, and never 0 for one that runs.
  return left === 0 ? 0 : max<i64>(1, <i64>((left + NANO / 2) / NANO));
}

function storeInterval(user: u64, which: i32): bool {
  const timer = intervalTimer(which);
  const left = timer === null ? 0 : timer.left();
  const interval = timer === null ? 0 : timer.interval;
  storePair(interval, MICRO, 0);
  storePair(left === 0 ? 0 : max<u64>(left, MICRO), MICRO, 16);
  return copyOut(user, scratch, 32);
}

function storePair(time: u64, unit: u64, at: usize): void {
  store<u64>(scratch + at, time / NANO);
  store<u64>(scratch + at, (time % NANO) / unit, 8);
}

export function sysGetitimer(which: u64, user: u64): i64 {
  if (<u32>which > 2) return EINVAL;
  return storeInterval(user, <i32>which) ? 0 : EFAULT;
}

/** Nanoseconds of a pair at scratch + at; sets `wrong` when it is none. */
let wrong: bool = false;
function loadPair(unit: u64, at: usize): u64 {
  const seconds = load<i64>(scratch + at);
  const part = load<u64>(scratch + at, 8);
  wrong = seconds < 0 || part >= NANO / unit;
  return min<u64>(seconds, MAX_SECONDS) * NANO + part * unit;
}

export function sysSetitimer(which: u64, next: u64, before: u64): i64 {
  if (<u32>which > 2) return EINVAL;
  let value: u64 = 0;
  let interval: u64 = 0;
  if (next !== 0) {
    if (!copyIn(scratch, next, 32)) return EFAULT;
    interval = loadPair(MICRO, 0);
    if (wrong) return EINVAL;
    value = loadPair(MICRO, 16);
    if (wrong) return EINVAL;
  }
  if (before !== 0 && !storeInterval(before, <i32>which)) return EFAULT;
  setInterval(<i32>which, value, interval);
  return 0;
}

// ---- timer_create ----------------------------------------------------------------------------------------------------

let latest: i32 = -1;

function timerOf(id: u64): Timer | null {
  for (let i = 0; i < timers.length; i++)
    if (timers[i].id === <i32>id && <i32>id >= 0 && timers[i].process === current.process) return timers[i];
  return null;
}

/** struct sigevent: value, signal, how, thread. */
export function sysTimerCreate(clock: u64, event: u64, user: u64): i64 {
  if (!known(clock) || <i32>clock === 4 || <i32>clock === 5 || <i32>clock === 6) return EINVAL;
  let notify = SIGEV_SIGNAL;
  let signal = SIGALRM;
  const id = latest + 1;
  let value: u64 = id;
  let thread: Thread | null = null;
  if (event !== 0) {
    if (!copyIn(scratch, event, 64)) return EFAULT;
    value = load<u64>(scratch);
    signal = load<u32>(scratch, 8);
    notify = load<i32>(scratch, 12);
    if (notify !== SIGEV_SIGNAL && notify !== SIGEV_NONE && notify !== SIGEV_THREAD_ID) return EINVAL;
    if (notify !== SIGEV_NONE && (signal === 0 || signal > 64)) return EINVAL;
    if (notify === SIGEV_THREAD_ID) {
      thread = threadOf(load<i32>(scratch, 16));
      if (thread === null || thread.process !== current.process) return EINVAL;
    }
  }
  if (timers.length >= MAX_TIMERS) return EAGAIN;
  if (storeU32(user, id) !== 0) return EFAULT;
  latest = id;
  timers.push(new Timer(id, current.process, thread, <i32>clock, notify, signal, value));
  return 0;
}

function storeSetting(timer: Timer, user: u64): bool {
  storePair(timer.interval, 1, 0);
  storePair(timer.left(), 1, 16);
  return copyOut(user, scratch, 32);
}

/** A timer without a signal counts when it is looked at. */
function bringForward(timer: Timer): void {
  if (timer.notify === SIGEV_NONE && timer.next !== 0 && timer.next <= now(1)) fire(timer);
}

export function sysTimerSettime(id: u64, flags: u64, next: u64, before: u64): i64 {
  const timer = timerOf(id);
  if (timer === null || (flags & ~TIMER_ABSTIME) !== 0) return EINVAL;
  if (!copyIn(scratch, next, 32)) return EFAULT;
  const interval = loadPair(1, 0);
  if (wrong) return EINVAL;
  const value = loadPair(1, 16);
  if (wrong) return EINVAL;
  bringForward(timer);
  if (before !== 0 && !storeSetting(timer, before)) return EFAULT;
  timer.interval = interval;
  timer.overrun = 0;
  if (value === 0) timer.next = 0;
  else if ((flags & TIMER_ABSTIME) === 0) timer.next = now(1) + value;
  else {
    const present = clockNow(timer.clock);
    timer.next = value > present ? now(1) + (value - present) : 1;
  }
  findEarliest();
  runTimers();
  return 0;
}

export function sysTimerGettime(id: u64, user: u64): i64 {
  const timer = timerOf(id);
  if (timer === null) return EINVAL;
  bringForward(timer);
  return storeSetting(timer, user) ? 0 : EFAULT;
}

export function sysTimerGetoverrun(id: u64): i64 {
  const timer = timerOf(id);
  return timer === null ? EINVAL : <i64>timer.overrun;
}

export function sysTimerDelete(id: u64): i64 {
  const timer = timerOf(id);
  if (timer === null) return EINVAL;
  timers.splice(timers.indexOf(timer), 1);
  findEarliest();
  return 0;
}
