/**
 * Signals. They come from the program's own calls (kill, a pipe without readers), from exceptions, timers and the host; the
 * native half delivers them when a call returns (native/src/signal.c), and to a thread that only computes when the host
 * has interrupted it (native/src/attend.c).
 */
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ESRCH } from './errno';
import { WAITING } from './request';
import { copyIn, copyOut, userStack } from './shim';
import { attending, interruptSlot } from './task/outbox';
import { Process } from './task/process';
import { mustGiveWay } from './task/residence';
import { isGroup } from './task/session';
import { isStop, isStopped, stopNow, stopsOrContinues } from './task/stops';
import { foreground } from './tty';
import { deadline, NEVER, park, timedOut, watch } from './task/queue';
import { current, MAX_THREADS, Queued, SENDER, Thread, threadOf, threads } from './task/thread';
import { scratch, storeU64 } from './user';

const SIGNALS: u64 = 65;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SIGKILL: u64 = 9;
const SIGSTOP: u64 = 19;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 0x8000_0000;
const MINSIGSTKSZ: u64 = 2048;
const SIGCHLD: u32 = 17;
const SIGRTMIN: u64 = 32;
/** RLIMIT_SIGPENDING: real-time signals that wait behind others, for a process or a thread. */
const MAX_QUEUED = 1024;
/** Another process of its group is to have its place first (task/residence.ts). */
const GIVE_WAY: i32 = 1000;
const UNBLOCKABLE: u64 = (1 << 8) | (1 << 18);

/** si_code: who sent it. */
export const SI_USER: i32 = 0;
export const SI_QUEUE: i32 = -1;
const SI_TKILL: i32 = -6;
/** Of timer_create's timers: the sender is the timer, and what lies behind it how often it was late. */
export const SI_TIMER: i32 = -2;
export const SI_KERNEL: i32 = 0x80;
/** CLD_EXITED; one more is CLD_KILLED. */
export const SI_CHILD: i32 = 1;

/** In the request of a thread to which a signal is delivered: handler, flags, restorer, mask, stack; and from here on whether the
 * interrupted call is made again, si_code with the sender's number, and si_value. */
const RESTART: usize = 64;
const CODE: usize = 72;
const VALUE: usize = 80;
const EXTRA: usize = 88;
/** The alternate stack as the frame shows it and as its end brings it back: base, flags, size. */
const STACK: usize = 96;

export function bit(signal: u64): u64 {
  return (<u64>1) << (signal - 1);
}

@inline function actionOf(process: Process, signal: u64): usize {
  return process.actions + <usize>signal * 32;
}

/** Ignored, or ignored by default: SIGCHLD, SIGCONT, SIGURG, SIGWINCH. */
export function ignored(process: Process, signal: u64): bool {
  const handler = load<u64>(actionOf(process, signal));
  if (handler === SIG_IGN) return true;
  if (handler !== SIG_DFL) return false;
  return signal === 17 || signal === 18 || signal === 23 || signal === 28;
}

/** What can be delivered to a thread now. */
function readyFor(thread: Thread): u64 {
  return (thread.pending | thread.process.pending) & ~thread.blocked;
}

/** Signals that would interrupt the call under way. */
export function deliverable(): u64 {
  let ready = readyFor(current);
  if (ready === 0) return 0;
  for (let left = ready; left !== 0; left &= left - 1) {
    const signal = ctz(left) + 1;
    if (ignored(current.process, signal)) ready &= ~bit(signal);
  }
  return ready;
}

/** Tells the native half, which looks at the end of each call; another thread is interrupted if it computes. */
export function look(thread: Thread): void {
  const waits = readyFor(thread) !== 0 || thread.process.exiting || thread.dismissed || thread.mustYield || thread.process.stopped !== 0;
  store<u64>(thread.request, waits ? 1 : 0, WAITING);
  if (waits && (thread !== current || attending)) interruptSlot(thread.slot);
}

function remember(senders: usize, signal: u64, code: i32, value: u64, sender: i32, extra: i32): void {
  const at = senders + <usize>signal * SENDER;
  store<i32>(at, code);
  store<i32>(at, sender, 4);
  store<u64>(at, value, 8);
  store<i32>(at, extra, 16);
}

/** Whether a signal that waits already is to be counted: real-time ones are, in their order. False: there are too many. */
function enqueue(queued: Array<Queued>, signal: u64, code: i32, value: u64, sender: i32, extra: i32): bool {
  if (signal < SIGRTMIN) return true;
  // What the kernel and kill send is not worth a failure.
  if (queued.length >= MAX_QUEUED) return code !== SI_QUEUE;
  queued.push(new Queued(signal, code, sender, value, extra));
  return true;
}

/** The thread of a process that a signal is for: its first, or another, that does not block it. */
export function takerOf(process: Process, signal: u64): Thread | null {
  let found: Thread | null = null;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process !== process || thread.leaving || (thread.blocked & bit(signal)) !== 0) continue;
    if (thread.tid === process.pid) return thread;
    if (found === null) found = thread;
  }
  return found;
}

/** Signals of a process that wait although a thread no longer takes them: others may. */
export function reassign(process: Process, set: u64): void {
  for (let left = process.pending & set; left !== 0; left &= left - 1) {
    const thread = takerOf(process, <u64>ctz(left) + 1);
    if (thread === null || thread === current) continue;
    look(thread);
    thread.wake();
  }
}

/** Sends a signal to one thread. False: too many of this number wait. */
export function raiseFor(thread: Thread, signal: u64, code: i32, value: u64, sender: i32, extra: i32 = 0): bool {
  if (stopsOrContinues(thread.process, signal, thread)) return true;
  if (ignored(thread.process, signal) && (thread.blocked & bit(signal)) === 0) return true;
  if ((thread.pending & bit(signal)) !== 0) return enqueue(thread.queued, signal, code, value, sender, extra);
  thread.pending |= bit(signal);
  remember(thread.senders, signal, code, value, sender, extra);
  look(thread);
  if ((thread.blocked & bit(signal)) === 0) thread.wake();
  thread.process.signalled.wake();
  return true;
}

/** To the calling thread, by what it does itself (a pipe without readers). */
export function raise(signal: u64): void {
  raiseFor(current, signal, SI_USER, 0, current.process.pid);
}

/** Sends a signal to a process: one of its threads that does not block it takes it. False: too many of this number wait. */
export function sendTo(process: Process, signal: u64, code: i32, value: u64, sender: i32, extra: i32 = 0): bool {
  if (process.ended || stopsOrContinues(process, signal, null)) return true;
  let wanted = !ignored(process, signal);
  for (let slot = 0; slot < MAX_THREADS && !wanted; slot++) {
    const thread = threads[slot];
    wanted = thread !== null && thread.process === process && (thread.blocked & bit(signal)) !== 0;
  }
  if (!wanted) return true;
  if ((process.pending & bit(signal)) !== 0) return enqueue(process.queued, signal, code, value, sender, extra);
  process.pending |= bit(signal);
  remember(process.senders, signal, code, value, sender, extra);
  const thread = takerOf(process, signal);
  if (thread !== null) {
    look(thread);
    thread.wake();
  }
  process.signalled.wake();
  return true;
}

/** Takes a pending signal of a set from the thread or its process: its number, or 0. Who sent it goes to the request. */
function take(set: u64): u64 {
  const process = current.process;
  const own = (current.pending & set) !== 0;
  const ready = (own ? current.pending : process.pending) & set;
  if (ready === 0) return 0;
  const signal = <u64>ctz(ready) + 1;
  const senders = own ? current.senders : process.senders;
  const at = senders + <usize>signal * SENDER;
  store<u64>(current.request, load<u64>(at), CODE);
  store<u64>(current.request, load<u64>(at, 8), VALUE);
  store<u64>(current.request, <u64>load<u32>(at, 16), EXTRA);
  const queued = own ? current.queued : process.queued;
  const next = nextOf(queued, signal);
  if (next >= 0) {
    const entry = queued.splice(next, 1)[0];
    remember(senders, signal, entry.code, entry.value, entry.sender, entry.extra);
  } else if (own) current.pending &= ~bit(signal);
  else process.pending &= ~bit(signal);
  look(current);
  return signal;
}

function nextOf(queued: Array<Queued>, signal: u64): i32 {
  for (let i = 0; i < queued.length; i++) if (queued[i].signal === signal) return i;
  return -1;
}

/** Signals of a set do not wait any more, for the process or its threads. */
export function dropPending(process: Process, set: u64): void {
  process.pending &= ~set;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process === process) thread.pending &= ~set;
  }
}

function dropQueued(queued: Array<Queued>, signal: u64): void {
  for (let i = nextOf(queued, signal); i >= 0; i = nextOf(queued, signal)) queued.splice(i, 1);
}

/**
 * The next signal to deliver, for the native half. With a handler: its number, and in the request handler, flags, restorer, mask to
 * come back to, and top of the alternate stack (0: the present one). Without: minus the number of the one that ends the process. 0: none.
 * GIVE_WAY: the thread waits first.
 */
export function takeSignal(stack: u64): i32 {
  // The thread is to go: it is ended where it stands (task/exit.ts, endProcess).
  if (current.process.exiting || current.dismissed) return -<i32>SIGKILL;
  if (isStopped(current) || mustGiveWay()) return GIVE_WAY;
  let signal = take(~current.blocked);
  while (signal !== 0 && ignored(current.process, signal)) signal = take(~current.blocked);
  if (signal !== 0 && isStop(signal) && load<u64>(actionOf(current.process, signal)) === SIG_DFL) {
    stopNow(signal);
    return current.process.stopped !== 0 ? GIVE_WAY : takeSignal(stack);
  }
  if (signal !== 0) return deliver(signal, stack);
  store<u64>(current.request, current.restart ? 1 : 0, RESTART);
  current.restart = false;
  look(current);
  return 0;
}

/** The same for an exception: it cannot wait, so a blocked or ignored one ends the program. */
export function takeFault(signal: u32, stack: u64): i32 {
  const handler = load<u64>(actionOf(current.process, signal));
  if (handler <= SIG_IGN || (current.blocked & bit(signal)) !== 0) return -<i32>signal;
  return deliver(signal, stack);
}

function deliver(signal: u64, stack: u64): i32 {
  const at = actionOf(current.process, signal);
  const request = current.request;
  const handler = load<u64>(at);
  const flags = load<u64>(at, 8);
  if (handler === SIG_DFL) return -<i32>signal;
  store<u64>(request, handler);
  store<u64>(request, flags, 8);
  store<u64>(request, load<u64>(at, 16), 16);
  // A handler that ends a sigsuspend comes back to the mask before it.
  store<u64>(request, current.suspended === u64.MAX_VALUE ? current.blocked : current.suspended, 24);
  current.suspended = u64.MAX_VALUE;
  const alternate = (flags & SA_ONSTACK) !== 0 && (current.stackFlags & SS_DISABLE) === 0 && !onStack(stack);
  store<u64>(request, current.stackBase, STACK);
  store<u64>(request, stackState(stack), STACK + 8);
  store<u64>(request, current.stackSize, STACK + 16);
  store<u64>(request, alternate ? current.stackBase + current.stackSize : 0, 32);
  store<u64>(request, current.restart && (flags & SA_RESTART) !== 0 ? 1 : 0, RESTART);
  current.restart = false;
  if ((current.stackFlags & SS_AUTODISARM) !== 0) {
    current.stackBase = current.stackSize = 0;
    current.stackFlags = SS_DISABLE;
  }
  const own = (flags & SA_NODEFER) === 0 ? bit(signal) : 0;
  if ((flags & SA_RESETHAND) !== 0) store<u64>(at, SIG_DFL);
  block(current.blocked | (load<u64>(at, 24) & ~UNBLOCKABLE) | own);
  return <i32>signal;
}

/** Sets the thread's mask. What it does not take any more others may. */
function block(mask: u64): void {
  const more = mask & ~current.blocked;
  current.blocked = mask;
  look(current);
  if ((current.process.pending & more) !== 0) reassign(current.process, more);
}

/** While its stack disarms itself a thread never counts as on it. */
function onStack(stack: u64): bool {
  if ((current.stackFlags & SS_AUTODISARM) !== 0) return false;
  return stack > current.stackBase && stack <= current.stackBase + current.stackSize;
}

/** Flags of the alternate stack as they are shown. */
function stackState(stack: u64): u32 {
  if ((current.stackFlags & SS_DISABLE) !== 0) return SS_DISABLE;
  return (current.stackFlags & SS_AUTODISARM) | (onStack(stack) ? SS_ONSTACK : 0);
}

/** The mask and the alternate stack that a handler's frame brings back. */
export function setMask(mask: u64, base: u64, flags: u32, size: u64): void {
  block(mask & ~UNBLOCKABLE);
  setStack(base, flags & ~SS_ONSTACK, size);
}

function setStack(base: u64, flags: u32, size: u64): i64 {
  if ((flags & ~(SS_DISABLE | SS_ONSTACK | SS_AUTODISARM)) !== 0) return EINVAL;
  if ((flags & SS_DISABLE) !== 0) {
    current.stackBase = current.stackSize = 0;
    current.stackFlags = SS_DISABLE;
    return 0;
  }
  if (size < MINSIGSTKSZ) return ENOMEM;
  current.stackBase = base;
  current.stackSize = size;
  current.stackFlags = flags & SS_AUTODISARM;
  return 0;
}

export function sysRtSigaction(signal: u64, next: u64, user: u64, size: u64): i64 {
  if (size !== 8 || signal === 0 || signal >= SIGNALS) return EINVAL;
  const at = actionOf(current.process, signal);
  if (next !== 0) {
    if (signal === SIGKILL || signal === SIGSTOP) return EINVAL;
    if (!copyIn(scratch, next, 32)) return EFAULT;
  }
  if (user !== 0 && !copyOut(user, at, 32)) return EFAULT;
  if (next !== 0) {
    memory.copy(at, scratch, 32);
    if (ignored(current.process, signal)) {
      dropPending(current.process, bit(signal));
      dropQueued(current.process.queued, signal);
      for (let slot = 0; slot < MAX_THREADS; slot++) {
        const thread = threads[slot];
        if (thread !== null && thread.process === current.process) dropQueued(thread.queued, signal);
      }
    }
    look(current);
  }
  return 0;
}

export function sysRtSigprocmask(how: u64, next: u64, user: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  const before = current.blocked;
  if (next !== 0) {
    if (!copyIn(scratch, next, 8)) return EFAULT;
    const set = load<u64>(scratch) & ~UNBLOCKABLE;
    if (<u32>how === 0) block(before | set);
    else if (<u32>how === 1) block(before & ~set);
    else if (<u32>how === 2) block(set);
    else return EINVAL;
  }
  return user === 0 ? 0 : storeU64(user, before);
}

export function sysRtSigpending(user: u64, size: u64): i64 {
  return size > 8 ? EINVAL : storeU64(user, waiting() & current.blocked);
}

/** struct siginfo of the signal that was taken. */
function storeInfo(user: u64, signal: u64): bool {
  memory.fill(scratch, 0, 128);
  store<u32>(scratch, <u32>signal);
  store<i32>(scratch, load<i32>(current.request, CODE), 8);
  store<i32>(scratch, load<i32>(current.request, CODE + 4), 16);
  store<i32>(scratch, load<i32>(current.request, EXTRA), 20);
  store<u64>(scratch, load<u64>(current.request, VALUE), 24);
  return copyOut(user, scratch, 128);
}

/** Takes a pending signal of a set without delivering it, and waits for one. */
export function sysRtSigtimedwait(set: u64, info: u64, timeout: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  if (!copyIn(scratch, set, 8)) return EFAULT;
  const wanted = load<u64>(scratch) & ~UNBLOCKABLE;
  const signal = take(wanted);
  if (signal !== 0) return info === 0 || storeInfo(info, signal) ? signal : EFAULT;
  let until = NEVER;
  if (timeout !== 0) {
    if (!copyIn(scratch, timeout, 16)) return EFAULT;
    until = deadline(load<u64>(scratch) * 1_000_000_000 + load<u64>(scratch, 8));
    if (timedOut()) return EAGAIN;
  }
  watch(current.process.signalled);
  return park(until);
}

export function sysSigaltstack(next: u64, user: u64): i64 {
  if (next !== 0 && !copyIn(scratch, next, 24)) return EFAULT;
  const base = load<u64>(scratch);
  const flags = load<u32>(scratch, 8);
  const size = load<u64>(scratch, 16);
  if (user !== 0) {
    store<u64>(scratch, current.stackBase);
    store<u64>(scratch, stackState(userStack()), 8);
    store<u64>(scratch, current.stackSize, 16);
    if (!copyOut(user, scratch, 24)) return EFAULT;
  }
  if (next === 0) return 0;
  return onStack(userStack()) ? EPERM : setStack(base, flags, size);
}

/** Signals that wait for the thread, blocked or not. */
export function waiting(): u64 {
  return current.pending | current.process.pending;
}

/** Takes a waiting signal of a set; 0 when there is none. */
export function takeFrom(set: u64): u32 {
  return <u32>take(set);
}

/** Another mask until the call is over or interrupted (ppoll, epoll_pwait …). */
export function swapMask(set: u64, size: u64): i64 {
  if (set === 0 || current.again || current.suspended !== u64.MAX_VALUE) return 0;
  if (size !== 8) return EINVAL;
  if (!copyIn(scratch, set, 8)) return EFAULT;
  current.suspended = current.blocked;
  current.blocked = load<u64>(scratch) & ~UNBLOCKABLE;
  look(current);
  return 0;
}

export function unswapMask(): void {
  if (current.suspended === u64.MAX_VALUE) return;
  current.blocked = current.suspended;
  current.suspended = u64.MAX_VALUE;
  look(current);
}

/** struct signalfd_siginfo of the signal that was taken. */
export function storeSignalfd(at: usize, signal: u32): void {
  const code = load<i32>(current.request, CODE);
  const timer = code === SI_TIMER;
  memory.fill(at, 0, 128);
  store<u32>(at, signal);
  store<i32>(at, code, 8);
  store<u32>(at + (timer ? 24 : 12), load<u32>(current.request, CODE + 4));
  if (timer) store<u32>(at, load<u32>(current.request, EXTRA), 32);
  store<u32>(at + (signal === SIGCHLD ? 40 : 44), load<u32>(current.request, VALUE));
  if (signal !== SIGCHLD) store<u64>(at, load<u64>(current.request, VALUE), 48);
}

/** Waits for a signal with another mask. */
export function sysRtSigsuspend(set: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  if (current.suspended === u64.MAX_VALUE) {
    if (!copyIn(scratch, set, 8)) return EFAULT;
    current.suspended = current.blocked;
    block(load<u64>(scratch) & ~UNBLOCKABLE);
  }
  return park(NEVER);
}

export function sysPause(): i64 {
  return park(NEVER);
}

function kill(pid: i32, signal: u64, code: i32, value: u64): i64 {
  if (signal >= SIGNALS) return EINVAL;
  let sent = false;
  // The processes that there are, each by the first of its threads.
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.tid !== thread.process.pid) continue;
    const process = thread.process;
    const meant = pid > 0 ? process.pid === pid : pid === -1 || process.pgid === (pid === 0 ? current.process.pgid : -pid);
    if (!meant) continue;
    sent = true;
    if (signal !== 0 && !sendTo(process, signal, code, value, current.process.pid)) return EAGAIN;
  }
  return sent ? 0 : ESRCH;
}

export function sysKill(pid: u64, signal: u64): i64 {
  return kill(<i32>pid, signal, SI_USER, 0);
}

/** Code and value that a program gives with a signal: SI_USER and the kernel's own codes are not its to give. They are at `scratch`. */
export function queued(info: u64): i64 {
  if (!copyIn(scratch, info, 32)) return EFAULT;
  return load<i32>(scratch, 8) >= 0 || load<i32>(scratch, 8) === SI_TKILL ? EINVAL : 0;
}

export function sysRtSigqueueinfo(pid: u64, signal: u64, info: u64): i64 {
  const failed = queued(info);
  return failed !== 0 ? failed : kill(<i32>pid, signal, load<i32>(scratch, 8), load<u64>(scratch, 24));
}

export function sysRtTgsigqueueinfo(pid: u64, tid: u64, signal: u64, info: u64): i64 {
  const failed = queued(info);
  return failed !== 0 ? failed : toThread(<i32>pid, <i32>tid, signal, load<i32>(scratch, 8), load<u64>(scratch, 24));
}

function toThread(pid: i32, tid: i32, signal: u64, code: i32, value: u64): i64 {
  if (signal >= SIGNALS || tid <= 0) return EINVAL;
  const thread = threadOf(tid);
  if (thread === null || (pid !== 0 && thread.process.pid !== pid)) return ESRCH;
  return signal === 0 || raiseFor(thread, signal, code, value, current.process.pid) ? 0 : EAGAIN;
}

export function sysTkill(tid: u64, signal: u64): i64 {
  return toThread(0, <i32>tid, signal, SI_TKILL, 0);
}

export function sysTgkill(pid: u64, tid: u64, signal: u64): i64 {
  return <i32>pid <= 0 ? EINVAL : toThread(<i32>pid, <i32>tid, signal, SI_TKILL, 0);
}

/** Signals of a terminal's keys, of its end and of its size go to the whole group. */
const OF_TERMINAL: u64 = 0x080a_0007;

/** A signal that the host sends, as if by process 0. */
export function fromHost(process: Process, signal: u64): void {
  if (signal === 0 || signal >= SIGNALS) return;
  if ((OF_TERMINAL & bit(signal)) === 0) {
    sendTo(process, signal, SI_USER, 0, 0);
    return;
  }
  const group = foreground !== 0 && isGroup(foreground) ? foreground : process.pgid;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.tid !== thread.process.pid || thread.process.pgid !== group) continue;
    sendTo(thread.process, signal, SI_KERNEL, 0, 0);
  }
}
