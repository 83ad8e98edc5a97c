import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallPool, close, eventfd, memfdCreate, pipe, pread, read, socketpair, write } from '@nestedsgx/os';
import { INTERRUPT_VECTOR } from '../src/host/index.js';
import { DESCRIPTOR_CALL, DESCRIPTORS } from '../src/layout/memory.js';
import { AT, BenchMachine } from './bench-machine.js';
import { SystemCalls } from './system-calls.js';

const EPERM = -1;
const EBADF = -9;
const EAGAIN = -11;
const EFAULT = -14;
const EPIPE = -32;
const text = (value: string) => new TextEncoder().encode(value);

let machine: BenchMachine;
let pool: CallPool;
const opened: number[] = [];
const keep = <T extends number | readonly number[]>(fds: T): T => {
  opened.push(...[fds].flat());
  return fds;
};
before(() => {
  machine = new BenchMachine();
  pool = new CallPool(4);
});
after(async () => {
  for (const fd of opened) close(fd);
  await pool.close();
  machine.close();
});

test('what the host grants can be read, written, polled and waited for, and given back', () => {
  const calls = new SystemCalls(machine);
  try {
    const [from, to] = keep(pipe());
    const reader = calls.grant(from);
    const writer = calls.grant(to);
    assert.deepEqual([reader.result, reader.name, reader.number], [8, 1n, DESCRIPTORS]);
    assert.deepEqual([writer.result, writer.name, writer.number], [8, 2n, DESCRIPTORS + 1]);
    calls.memory(1024, 5).set(text('hello'));
    assert.equal(calls.call(1, [writer.number, calls.at(1024), 5]), 5);
    const got = new Uint8Array(8);
    assert.equal(read(from, got), 5);
    assert.equal(new TextDecoder().decode(got.subarray(0, 5)), 'hello');
    write(to, text('back'));
    calls.words(512, [BigInt(reader.number) | (1n << 32n)]);
    assert.equal(calls.call(7, [calls.at(512), 1, 0]), 1, 'poll');
    assert.equal(calls.call(0, [reader.number, calls.at(1024), 16]), 4);
    assert.equal(new TextDecoder().decode(calls.memory(1024, 4)), 'back');
    // The same into the enclave's own memory, by an iovec.
    write(to, text('inside'));
    calls.words(1024, [calls.enclave.base + AT.DATA + 0x100, 3, calls.enclave.base + AT.DATA + 0x200, 3]);
    assert.equal(calls.call(19, [reader.number, calls.at(1024), 2]), 6);
    const inside = calls.enclave.memory.read(AT.DATA + 0x100, 0x103);
    assert.equal(
      new TextDecoder().decode(Uint8Array.of(...inside.subarray(0, 3), ...inside.subarray(0x100))),
      'inside',
    );
    assert.equal(calls.call(3, [reader.number]), 0);
    assert.equal(calls.call(0, [reader.number, calls.at(1024), 16]), EBADF);
    assert.equal(calls.call(1, [writer.number, calls.at(1024), 5]), 5, 'the host still has the other end');
    assert.equal(calls.grant(from).number, reader.number, 'its number is free again');
  } finally {
    calls.close();
  }
});

test('files by offset, sockets without address; an error and not the end of the runner where nobody reads', () => {
  const calls = new SystemCalls(machine);
  try {
    const there = keep(memfdCreate('file', { size: 4096 }));
    const file = calls.grant(there).number;
    calls.memory(1024, 4).set(text('page'));
    assert.equal(calls.call(18, [file, calls.at(1024), 4, 100]), 4);
    const written = new Uint8Array(4);
    pread(there, written, 100);
    assert.deepEqual(written, text('page'));
    assert.equal(calls.call(17, [file, calls.at(2048), 4, 100]), 4);
    assert.deepEqual(Uint8Array.from(calls.memory(2048, 4)), text('page'));
    assert.equal(calls.call(0, [file, 16, 4]), EFAULT);
    const [one, other] = keep(socketpair());
    const socket = calls.grant(one).number;
    assert.equal(calls.call(44, [socket, calls.at(1024), 4, 0, 0, 0]), 4);
    assert.equal(read(other, new Uint8Array(8)), 4);
    assert.equal(calls.call(45, [socket, calls.at(1024), 4, 0x40, 0, 0]), EAGAIN);
    const [from, to] = pipe();
    const writer = calls.grant(to).number;
    close(from);
    close(to);
    assert.equal(calls.call(1, [writer, calls.at(1024), 4]), EPIPE);
    assert.equal(calls.enclave.running.lost, null);
  } finally {
    calls.close();
  }
});

test('nothing else passes: other descriptors, addresses, calls and futexes', () => {
  const calls = new SystemCalls(machine);
  try {
    const [one] = keep(socketpair());
    const fd = calls.grant(one).number;
    const at = calls.at(1024);
    const refused: [string, number, (number | bigint)[]][] = [
      ['read of the socket to the monitor', 0, [3, at, 8]],
      ['read of the grant socket', 0, [5, at, 8]],
      ['write to the socket to the monitor', 1, [3, at, 8]],
      ['read of a number below the range', 0, [DESCRIPTORS - 1, at, 8]],
      ['read of a number above the range', 0, [2 * DESCRIPTORS, at, 8]],
      ['read of a number with high bits', 0, [BigInt(fd) | (1n << 32n), at, 8]],
      ['read of -1', 0, [-1, at, 8]],
      ['close of the socket to the monitor', 3, [3]],
      ['close of the grant socket', 3, [5]],
      ['epoll_wait on another descriptor', 232, [3, at, 1, 0]],
      ['sendto with an address', 44, [fd, at, 4, 0, calls.at(0), 16]],
      ['sendto with an address in the high half', 44, [fd, at, 4, 0, 1n << 40n, 0]],
      ['recvfrom with room for an address', 45, [fd, at, 4, 0x40, calls.at(0), calls.at(8)]],
      ['recvmsg on a granted descriptor', 47, [fd, calls.at(0), 0x40]],
      ['recvmsg on the socket to the monitor', 47, [3, calls.at(0), 0x40]],
      ['sendmsg', 46, [fd, calls.at(0), 0]],
      ['sendmsg on the grant socket', 46, [5, calls.at(0), 0]],
      ['ioctl', 16, [fd, 0x541b, at]],
      ['fcntl', 72, [fd, 0, 0]],
      ['dup', 32, [fd]],
      ['dup2 over the socket to the monitor', 33, [fd, 3]],
      ['dup3', 292, [fd, DESCRIPTORS + 5, 0]],
      ['open', 2, [at, 0]],
      ['openat', 257, [-100, at, 0]],
      ['mmap', 9, [0, 4096, 3, 2, fd, 0]],
      ['mprotect', 10, [calls.enclave.base, 4096, 7]],
      ['connect', 42, [fd, calls.at(0), 16]],
      ['accept', 43, [fd, 0, 0]],
      ['accept4', 288, [fd, 0, 0, 0]],
      ['socket', 41, [1, 1, 0]],
      ['epoll_ctl', 233, [fd, 1, 3, at]],
      ['preadv2', 327, [fd, at, 1, 0, 0, 0]],
      ['execve', 59, [at, 0, 0]],
      ['kill', 62, [process.pid, 0]],
      ['exit_group', 231, [0]],
      ['FUTEX_WAIT, not private', 202, [at, 0, 0, 0]],
      ['FUTEX_REQUEUE, private', 202, [at, 131, 0, 0]],
      ['FUTEX_LOCK_PI, private', 202, [at, 134, 0, 0]],
      ['futex with high bits in its operation', 202, [at, (1n << 32n) | 128n, 0, 0]],
      ['the x32 read', 0x4000_0000, [fd, at, 8]],
    ];
    for (const [what, number, args] of refused) assert.equal(calls.call(number, args), EPERM, what);
    // What the runner needs itself stays at its own addresses.
    for (const where of [DESCRIPTOR_CALL + 1, DESCRIPTOR_CALL + 3])
      assert.notEqual(typeof calls.call(0, [fd, at, 8], where), 'number');
    assert.equal(calls.enclave.running.lost, null);
  } finally {
    calls.close();
  }
});

test('whoever receives and whatever room it gives, descriptors arrive in the range, and no more than fit', () => {
  const calls = new SystemCalls(machine);
  try {
    const fd = keep(eventfd());
    const numbers = new Set<number>();
    for (let i = 0; i < DESCRIPTORS; i++) {
      const { number } = calls.grant(fd);
      assert.ok(number >= DESCRIPTORS && number < 2 * DESCRIPTORS, `${number}`);
      numbers.add(number);
    }
    assert.equal(numbers.size, DESCRIPTORS);
    assert.equal(calls.grant(fd).number, -1, 'the range is full: the descriptor is dropped');
    assert.equal(calls.call(3, [DESCRIPTORS + 7]), 0);
    assert.equal(calls.grant(fd).number, DESCRIPTORS + 7);
    if (process.getuid?.() === 0) {
      const open = readdirSync(`/proc/${calls.enclave.running.pid}/fd`).map(Number);
      assert.equal(Math.max(...open), 2 * DESCRIPTORS - 1);
    }
  } finally {
    calls.close();
  }
});

test('a kick ends a call that blocks: an interrupt, and EINTR behind ERESUME', async () => {
  const calls = new SystemCalls(machine);
  const { enclave } = calls;
  try {
    const [from, to] = keep(pipe());
    const reader = calls.grant(from).number;
    calls.words(512, [BigInt(reader) | (1n << 32n)]);
    const blocking: [string, number, (number | bigint)[]][] = [
      ['read', 0, [reader, calls.at(1024), 8]],
      ['poll', 7, [calls.at(512), 1, -1]],
      ['futex', 202, [calls.at(2048), 128, 0, 0]],
    ];
    calls.words(2048, [0]);
    for (const [what, number, args] of blocking) {
      const entry = calls.start(pool, number, args);
      while (!enclave.running.anyInside()) await sleep(1);
      await sleep(20);
      assert.equal(enclave.running.threadState(0).state, 2, what);
      const began = performance.now();
      enclave.running.freeze();
      enclave.running.kick(0);
      assert.deepEqual(
        await entry,
        { kind: 'AEX', vector: INTERRUPT_VECTOR, errorCode: 0, address: 0n },
        what,
      );
      assert.ok(performance.now() - began < 100, `${what}: the kick took ${performance.now() - began} ms`);
      assert.equal(enclave.running.anyInside(), false, what);
      enclave.running.unfreeze();
      const exit = await enclave.gate.enterAsync(pool, 3);
      assert.equal(exit.kind === 'EEXIT' && BigInt.asIntN(64, exit.rdi), -4n, what);
    }
    const woken = calls.start(pool, 0, [reader, calls.at(1024), 8]);
    await sleep(5);
    write(to, text('x'));
    const exit = await woken;
    assert.equal(exit.kind === 'EEXIT' && exit.rdi, 1n);
  } finally {
    calls.close();
  }
});

test('kicks at every point of calls that do not block: each is made once', async () => {
  const calls = new SystemCalls(machine);
  const { enclave } = calls;
  try {
    const counter = keep(eventfd());
    const number = calls.grant(counter).number;
    calls.words(1024, [1]);
    const rounds = 3000;
    let interrupts = 0;
    for (let i = 0; i < rounds; i++) {
      if (i % 2 === 0) enclave.running.kick(0);
      let result = calls.call(1, [number, calls.at(1024), 8]);
      while (typeof result !== 'number') {
        assert.deepEqual(result.kind === 'AEX' && result.vector, INTERRUPT_VECTOR);
        interrupts++;
        const exit = enclave.gate.exit(enclave.gate.resume());
        result = exit.kind === 'EEXIT' ? Number(BigInt.asIntN(64, exit.rdi)) : exit;
      }
      assert.equal(result, 8);
    }
    const sum = new Uint8Array(8);
    read(counter, sum);
    assert.equal(new DataView(sum.buffer).getBigUint64(0, true), BigInt(rounds), `${interrupts} interrupts`);
    assert.equal(enclave.running.lost, null);
  } finally {
    calls.close();
  }
});

test('a stack page that goes during a call is a page fault, and the call comes back when it does', async () => {
  const calls = new SystemCalls(machine);
  const { enclave } = calls;
  try {
    const [from, to] = keep(pipe());
    const reader = calls.grant(from).number;
    const entry = calls.start(pool, 0, [reader, calls.at(1024), 8]);
    while (!enclave.running.anyInside()) await sleep(1);
    await sleep(20);
    const stack = AT.DATA + 0x2000;
    enclave.running.unmap(stack, 4096);
    write(to, text('data'));
    const exit = await entry;
    assert.deepEqual(exit, { kind: 'AEX', vector: 14, errorCode: 4, address: BigInt(enclave.base + stack) });
    // Into an absent page the kernel puts nothing; the thread finds that out.
    enclave.running.map({ offset: stack, length: 4096, r: true, w: true, x: false });
    const last = await enclave.gate.enterAsync(pool, 3);
    assert.equal(last.kind === 'EEXIT' && last.rdi, 4n);
    enclave.running.unmap(AT.DATA, 4096);
    write(to, text('more'));
    assert.equal(calls.call(0, [reader, enclave.base + AT.DATA, 4]), EFAULT);
    enclave.running.map({ offset: AT.DATA, length: 4096, r: true, w: true, x: false });
    assert.equal(calls.call(0, [reader, enclave.base + AT.DATA, 4]), 4, 'no data were lost');
  } finally {
    calls.close();
  }
});

test('a step over a call in a debug enclave ends behind it', () => {
  const calls = new SystemCalls(machine, { debug: true, optIn: true });
  const { enclave } = calls;
  try {
    calls.words(512, [0]);
    enclave.gate.singleStep = true;
    let exit: ReturnType<typeof calls.call> = calls.call(7, [calls.at(512), 0, 0]);
    let inside = 0;
    let steps = 0;
    for (; typeof exit !== 'number' && exit.kind === 'AEX'; steps++) {
      assert.equal(exit.vector, 1);
      const rip = Number(enclave.ssa().getBigUint64(4096 - 184 + 136, true));
      if (rip < enclave.base) inside++;
      exit = enclave.gate.exit(enclave.gate.resume());
    }
    assert.equal(inside, 0);
    assert.ok(steps >= 12, `${steps} steps`);
    assert.equal(typeof exit !== 'number' && exit.kind, 'EEXIT');
  } finally {
    calls.close();
  }
});

test('without the option the call is an exception as any other jump out of the enclave', () => {
  const calls = new SystemCalls(machine, { descriptors: false });
  try {
    assert.equal(calls.enclave.running.takeGrants(), null);
    for (const number of [0, 1, 3, 7, 47, 202]) {
      const refused = { kind: 'AEX', vector: 13, errorCode: 0, address: 0n };
      assert.deepEqual(calls.call(number, [3, calls.at(0), 0]), refused);
      calls.enclave.forgetExits();
    }
    if (process.getuid?.() === 0)
      assert.deepEqual(readdirSync(`/proc/${calls.enclave.running.pid}/fd`), ['3']);
  } finally {
    calls.close();
  }
});

test('an enclave that ends gives all it was granted back', async () => {
  const [one, other] = socketpair();
  keep(other);
  const calls = new SystemCalls(machine);
  const fd = calls.grant(one).number;
  close(one);
  calls.memory(1024, 1).set([1]);
  assert.equal(calls.call(1, [fd, calls.at(1024), 1]), 1);
  assert.equal(read(other, new Uint8Array(4)), 1);
  const entry = calls.start(pool, 0, [fd, calls.at(1024), 1]);
  await sleep(20);
  calls.enclave.running.stop();
  assert.equal((await entry).kind, 'LOST');
  await sleep(1);
  assert.equal(read(other, new Uint8Array(4)), 0, 'end of file: the other end has gone');
  calls.close();
});
