/**
 * What is asked of the host about its descriptors. Each thread has an area for lists, pollfds, events and addresses; the
 * native half (native/src/io.c) copies between it, the program's memory and what is shared with the host.
 */
import { EINTR, EPIPE } from '../errno';
import { closing } from './closing';
import { ask, THEN_CLOSED, THEN_IO, THEN_RETRY } from '../request';
import { now } from '../shim';
import { deliverable } from '../signals';
import { NEVER } from '../task/queue';
import { MAX_THREADS } from '../task/slots';
import { current } from '../task/thread';

export const OP_READ: u64 = 32;
const OP_WRITE: u64 = 33;
export const OP_RECEIVE: u64 = 34;
export const OP_SEND: u64 = 35;
export const OP_POLL: u64 = 36;
export const OP_EPOLL_WAIT: u64 = 37;
export const OP_EPOLL_CTL: u64 = 38;
export const OP_ACCEPT: u64 = 39;
const OP_CLOSE: u64 = 40;
export const OP_SHUTDOWN: u64 = 41;
export const OP_NET: u64 = 42;

/** Operations of OP_NET (src/run/net/host-io.ts). */
export const NET_SOCKET: u64 = 1;
export const NET_BIND: u64 = 2;
export const NET_CONNECT: u64 = 3;
export const NET_LISTEN: u64 = 4;
export const NET_GETSOCKNAME: u64 = 5;
export const NET_GETPEERNAME: u64 = 6;
export const NET_SETSOCKOPT: u64 = 7;
export const NET_GETSOCKOPT: u64 = 8;
export const NET_EPOLL: u64 = 9;
export const NET_QUEUED: u64 = 10;
export const NET_TERMINAL: u64 = 11;

/** The wait was ended by another thread; nothing was done. */
export const WOKEN: i64 = -512;
const AREA_LISTS: usize = 16384;
const ADDRESS_ROOM: usize = 128;
const AREA: usize = AREA_LISTS + ADDRESS_ROOM + 8;

const areas = new StaticArray<usize>(MAX_THREADS);

/** The calling thread's lists. */
export function area(): usize {
  let at = unchecked(areas[current.slot]);
  if (at === 0) {
    at = heap.alloc(AREA);
    areas[current.slot] = at;
  }
  return at;
}

/** Lists of waits that other requests stand behind (core/task/residence.ts). */
const pollAreas = new StaticArray<usize>(MAX_THREADS);
export function pollArea(slot: i32): usize {
  if (pollAreas[slot] === 0) pollAreas[slot] = heap.alloc(AREA);
  return pollAreas[slot];
}

/** Where its addresses lie. */
export function areaAddress(): usize {
  return area() + AREA_LISTS;
}

/** How many bytes the latest answer had: of an address, or of what OP_NET gave. */
export function answerLength(): u32 {
  return load<u32>(area() + AREA_LISTS + ADDRESS_ROOM);
}

/** Whether the call is made again because this operation is over; its result is `current.waitResult`. */
export function answered(op: u64): bool {
  return current.again && load<u64>(current.request) === op;
}

/** The same for an operation of OP_NET. */
export function netAnswered(op: u64): bool {
  return answered(OP_NET) && load<u64>(current.request, 16) === op;
}

/** Nanoseconds until a time on clock 1, as waits outside have them. */
export function waitUntil(until: u64): i64 {
  if (until === NEVER) return -1;
  const present = now(1);
  return until > present ? <i64>(until - present) : 0;
}

export function request(op: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64): i64 {
  store<u64>(current.request, e, 40);
  store<u64>(current.request, f, 48);
  return ask(op, a, b, c, d, THEN_RETRY);
}

/** Reads or writes; the result is the call's own unless `finished` says that there is more to do. */
export function hostTransfer(write: bool, fd: i32, user: u64, length: u64, wait: i64, wanted: u64): i64 {
  current.wanted = wanted;
  return ask(write ? OP_WRITE : OP_READ, <u64>fd, user, length, <u64>wait, THEN_IO);
}

/** Whether a transfer's result is the result of the call. */
export function transferred(result: i64): bool {
  if (current.done !== 0 || result === WOKEN || result === EPIPE) return false;
  return result < 0 || <u64>result >= current.wanted;
}

/** Whether a read or write of a host's descriptor is what the call is made again for. */
export function transferAnswered(write: bool): bool {
  return answered(write ? OP_WRITE : OP_READ);
}

/** What a call that was woken does: EINTR for a signal, 0 to go on. */
export function interrupted(): i64 {
  if (deliverable() === 0) return 0;
  current.restart = true;
  return EINTR;
}

/** `length` bytes of the area go along. */
export function net(op: u64, fd: i64, a: i64, b: i64, length: u32): i64 {
  return request(OP_NET, area(), op, <u64>fd, <u64>a, <u64>b, length);
}

@inline export function mustClose(): bool {
  return closing.length > 0;
}

/** Closes one of them; the call's result comes behind that. */
export function closeFirst(result: i64): i64 {
  current.result = result;
  return ask(OP_CLOSE, <u64>closing.pop(), 0, 0, 0, THEN_CLOSED);
}
