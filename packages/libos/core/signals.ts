/**
 * Signals of the one thread. They come from its own calls (kill, a pipe without readers) and from exceptions; what the
 * host sends does not get here. The native half delivers them when a call returns (native/src/signal.c).
 */
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, ESRCH } from './errno';
import { PID } from './process';
import { hostWait, request, THEN_RETRY } from './request';
import { copyIn, copyOut } from './shim';
import { scratch, storeU64 } from './user';

const SIGNALS: u64 = 65;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;
const SIGKILL: u64 = 9;
const SIGSTOP: u64 = 19;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const MINSIGSTKSZ: u64 = 2048;
const UNBLOCKABLE: u64 = (1 << 8) | (1 << 18);

/** Where the native half looks whether `takeSignal` has something, behind the request. */
const WAITING: usize = 56;

/** struct sigaction as system calls have it: handler, flags, restorer, mask. */
const actions: usize = memory.data(32 * 65);
let blocked: u64 = 0;
let pending: u64 = 0;
let stackBase: u64 = 0;
let stackSize: u64 = 0;
let stackFlags: u32 = SS_DISABLE;

@inline function bit(signal: u64): u64 {
  return (<u64>1) << (signal - 1);
}

function actionOf(signal: u64): usize {
  return actions + <usize>signal * 32;
}

function look(): void {
  store<u64>(request, (pending & ~blocked) !== 0 ? 1 : 0, WAITING);
}

/** Ignored by default: SIGCHLD, SIGCONT, SIGURG, SIGWINCH. */
function ignored(signal: u64): bool {
  const handler = load<u64>(actionOf(signal));
  if (handler === SIG_IGN) return true;
  return handler === SIG_DFL && (signal === 17 || signal === 18 || signal === 23 || signal === 28);
}

export function raise(signal: u64): void {
  if (ignored(signal) && (blocked & bit(signal)) === 0) return;
  pending |= bit(signal);
  look();
}

/**
 * The next signal to deliver, for the native half. With a handler: its number, and in the request handler, flags, restorer, mask to
 * come back to, and top of the alternate stack (0: the present one). Without: minus the status that the program ends with. 0: none.
 */
export function takeSignal(stack: u64): i32 {
  const ready = pending & ~blocked;
  if (ready === 0) {
    look();
    return 0;
  }
  const signal = ctz(ready) + 1;
  pending &= ~bit(signal);
  if (ignored(signal)) {
    look();
    return takeSignal(stack);
  }
  return deliver(signal, stack);
}

/** The same for an exception: it cannot wait, so a blocked or ignored one ends the program. */
export function takeFault(signal: u32, stack: u64): i32 {
  const handler = load<u64>(actionOf(signal));
  if (handler <= SIG_IGN || (blocked & bit(signal)) !== 0) return -(128 + <i32>signal);
  return deliver(signal, stack);
}

function deliver(signal: u64, stack: u64): i32 {
  const at = actionOf(signal);
  const handler = load<u64>(at);
  const flags = load<u64>(at, 8);
  if (handler === SIG_DFL) return -(128 + <i32>signal);
  store<u64>(request, handler);
  store<u64>(request, flags, 8);
  store<u64>(request, load<u64>(at, 16), 16);
  // A handler that ends a sigsuspend comes back to the mask before it.
  store<u64>(request, suspended === u64.MAX_VALUE ? blocked : suspended, 24);
  suspended = u64.MAX_VALUE;
  const alternate = (flags & SA_ONSTACK) !== 0 && stackFlags !== SS_DISABLE && !onStack(stack);
  store<u64>(request, alternate ? stackBase + stackSize : 0, 32);
  blocked |= load<u64>(at, 24) & ~UNBLOCKABLE;
  if ((flags & SA_NODEFER) === 0) blocked |= bit(signal);
  if ((flags & SA_RESETHAND) !== 0) store<u64>(at, SIG_DFL);
  look();
  return <i32>signal;
}

function onStack(stack: u64): bool {
  return stack > stackBase && stack <= stackBase + stackSize;
}

/** The mask that a handler's frame brings back. */
export function setMask(mask: u64): void {
  blocked = mask & ~UNBLOCKABLE;
  look();
}

export function sysRtSigaction(signal: u64, next: u64, user: u64, size: u64): i64 {
  if (size !== 8 || signal === 0 || signal >= SIGNALS) return EINVAL;
  const at = actionOf(signal);
  if (next !== 0) {
    if (signal === SIGKILL || signal === SIGSTOP) return EINVAL;
    if (!copyIn(scratch, next, 32)) return EFAULT;
  }
  if (user !== 0 && !copyOut(user, at, 32)) return EFAULT;
  if (next !== 0) {
    memory.copy(at, scratch, 32);
    if (ignored(signal)) pending &= ~bit(signal);
    look();
  }
  return 0;
}

export function sysRtSigprocmask(how: u64, next: u64, user: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  const before = blocked;
  if (next !== 0) {
    if (!copyIn(scratch, next, 8)) return EFAULT;
    const set = load<u64>(scratch) & ~UNBLOCKABLE;
    if (<u32>how === 0) blocked |= set;
    else if (<u32>how === 1) blocked &= ~set;
    else if (<u32>how === 2) blocked = set;
    else return EINVAL;
    look();
  }
  return user === 0 ? 0 : storeU64(user, before);
}

export function sysRtSigpending(user: u64, size: u64): i64 {
  return size > 8 ? EINVAL : storeU64(user, pending & blocked);
}

/** Takes a pending signal of a set without delivering it. None other can come: EAGAIN, whatever the timeout. */
export function sysRtSigtimedwait(set: u64, info: u64, timeout: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  if (!copyIn(scratch, set, 8)) return EFAULT;
  const signal = takeFrom(load<u64>(scratch));
  if (signal === 0) return EAGAIN;
  if (info !== 0) {
    memory.fill(scratch, 0, 128);
    store<u32>(scratch, signal);
    if (!copyOut(info, scratch, 128)) return EFAULT;
  }
  return signal;
}

export function sysSigaltstack(next: u64, user: u64): i64 {
  // The first stack is the only one that handlers change: where the program stands now is not asked.
  if (next !== 0 && !copyIn(scratch, next, 24)) return EFAULT;
  const base = load<u64>(scratch);
  const flags = load<u32>(scratch, 8);
  const size = load<u64>(scratch, 16);
  if (user !== 0) {
    store<u64>(scratch, stackBase);
    store<u64>(scratch, stackFlags, 8);
    store<u64>(scratch, stackSize, 16);
    if (!copyOut(user, scratch, 24)) return EFAULT;
  }
  if (next === 0) return 0;
  if ((flags & ~(SS_DISABLE | SS_ONSTACK)) !== 0) return EINVAL;
  if ((flags & SS_DISABLE) !== 0) {
    stackBase = stackSize = 0;
    stackFlags = SS_DISABLE;
    return 0;
  }
  if (size < MINSIGSTKSZ) return ENOMEM;
  stackBase = base;
  stackSize = size;
  stackFlags = 0;
  return 0;
}

/** Signals that are blocked and wait. */
export function waiting(): u64 {
  return pending;
}

/** Takes a waiting signal of a set; 0 when there is none. */
export function takeFrom(set: u64): u32 {
  const ready = pending & set;
  if (ready === 0) return 0;
  const signal = ctz(ready) + 1;
  pending &= ~bit(signal);
  look();
  return <u32>signal;
}

/** Waits for a signal with another mask. What waits already is delivered at once; others do not come. */
export function sysRtSigsuspend(set: u64, size: u64): i64 {
  if (size !== 8) return EINVAL;
  if (!copyIn(scratch, set, 8)) return EFAULT;
  const mask = load<u64>(scratch) & ~UNBLOCKABLE;
  if ((pending & ~mask) === 0) return hostWait(0, -1, THEN_RETRY);
  const before = blocked;
  blocked = mask;
  look();
  suspended = before;
  return EINTR;
}
let suspended: u64 = u64.MAX_VALUE;

export function sysPause(): i64 {
  return (pending & ~blocked) !== 0 ? EINTR : hostWait(0, -1, THEN_RETRY);
}

export function sysRtSigqueueinfo(pid: u64, signal: u64): i64 {
  return sysKill(pid, signal);
}

function send(signal: u64): i64 {
  if (signal >= SIGNALS) return EINVAL;
  if (signal !== 0) raise(signal);
  return 0;
}

export function sysKill(pid: u64, signal: u64): i64 {
  const to = <i32>pid;
  return to === PID || to === 0 || to === -PID || to === -1 ? send(signal) : ESRCH;
}

export function sysTkill(thread: u64, signal: u64): i64 {
  return <i32>thread === PID ? send(signal) : ESRCH;
}

export function sysTgkill(pid: u64, thread: u64, signal: u64): i64 {
  return <i32>pid === PID && <i32>thread === PID ? send(signal) : ESRCH;
}
