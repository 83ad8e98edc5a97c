/** The core of the library OS: what the native half calls. It runs to completion and never waits inside. */
import { bootDevices, bootRoot } from './boot';
import { blockFailed, setMemoryLimit } from './fs/inode';
import { call } from './generated/dispatch';
import { setStack, startMemory } from './memory-map';
import { OP_ROOT, OP_WAIT, PENDING, request, THEN_RETRY, then } from './request';
import { setMask, takeFault, takeSignal } from './signals';
import { setWaitResult } from './wait';
import { setWindow } from './terminal';
import { setVerbose } from './unsupported';

/** The system call under way, for when it has to be made again. */
let number: u32 = 0;
let a: u64 = 0;
let b: u64 = 0;
let c: u64 = 0;
let d: u64 = 0;
let e: u64 = 0;
let f: u64 = 0;

const COLLECT_EVERY: u32 = 16384;
let untilCollection: u32 = COLLECT_EVERY;

export function requestAt(): usize {
  return request;
}

export function start(
  base: u64,
  arena: u64,
  arenaSize: u64,
  stack: u64,
  stackSize: u64,
  manifestSize: u64,
  coreSize: u64,
  flags: u64,
  kinds: u32,
  window: u32,
): void {
  setMemoryLimit(coreSize);
  startMemory(arena, arenaSize);
  setStack(stack, stackSize);
  setVerbose((flags & 1) !== 0);
  setWindow(window);
  bootRoot(manifestSize, base);
  bootDevices(kinds);
}

export function syscall(nr: u32, a1: u64, a2: u64, a3: u64, a4: u64, a5: u64, a6: u64): i64 {
  // No call is on the stack here, so this is where the collector may run.
  if (--untilCollection === 0) {
    untilCollection = COLLECT_EVERY;
    __collect();
  }
  const result = call(nr, a1, a2, a3, a4, a5, a6);
  if (result !== PENDING) return result;
  number = nr;
  a = a1;
  b = a2;
  c = a3;
  d = a4;
  e = a5;
  f = a6;
  return PENDING;
}

/** The result of what the latest request asked for. Returns as `syscall` does. */
export function complete(result: i64): i64 {
  if (then !== THEN_RETRY) return result;
  const operation = load<u64>(request);
  if (operation === OP_ROOT && result !== 0) return blockFailed();
  setWaitResult(operation === OP_WAIT ? result : -1);
  const again = call(number, a, b, c, d, e, f);
  setWaitResult(-1);
  return again;
}

export { setMask, takeFault, takeSignal };
