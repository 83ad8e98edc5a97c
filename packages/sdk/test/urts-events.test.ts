/** Events, threads, CPUID and services: what the SDK's untrusted half answers without touching files. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import { describeEdl, marshalOcall, parseEdl, type UntrustedMemory, withStandardEdl } from '@nestedsgx/edl';
import { GuestMemory } from '@nestedsgx/guest';
import type { BuiltinHost } from '../src/urts/ocalls/builtin-host.js';
import { builtinOcalls } from '../src/urts/ocalls/builtin-ocalls.js';
import { ThreadEvents } from '../src/urts/ocalls/thread-events.js';

const SUCCESS = 0;
const WAIT_FAILED = 0xc0003002 | 0;
const NO_EVENT = 0xc0003001 | 0;

function machine(more: Partial<BuiltinHost> = {}) {
  const end = new AbortController();
  const memory = new GuestMemory({
    base: 2 ** 44,
    slice: new Uint8Array(2 ** 20),
    gpa: 4096,
    length: 2 ** 20,
  });
  const host: BuiltinHost = { startThread: async () => 0n, memory, ended: end.signal, ...more };
  const handlers = builtinOcalls(host) as Record<string, (...args: unknown[]) => unknown>;
  const untrusted: UntrustedMemory = {
    alloc: (length, alignment) => BigInt(memory.alloc(length, { alignment }).address),
    view: (address, length) => memory.viewAt(Number(address), length),
  };
  return { end, handlers, memory, untrusted };
}

test('CPUID through the marshalling of the real interface', () => {
  const { handlers, memory, untrusted } = machine();
  const text = 'enclave { from "sgx_tstdc.edl" import *; };';
  const edl = describeEdl(
    parseEdl({ file: 'e.edl', text }, { resolve: withStandardEdl(), requirePublic: false }),
  );
  const frame = memory.alloc(64, { zero: true });
  const info = memory.alloc(16);
  const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset);
  const ask = (leaf: number, subleaf: number) => {
    view.setBigUint64(0, BigInt(info.address), true);
    view.setUint32(8, leaf, true);
    view.setUint32(12, subleaf, true);
    const call = marshalOcall(edl, 'sgx_oc_cpuidex', BigInt(frame.address), untrusted);
    call.finish(handlers[call.name](...call.args));
    return Buffer.from(info.bytes);
  };
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8');
  const vendor = ask(0, 0);
  assert.equal(
    Buffer.concat([vendor.subarray(4, 8), vendor.subarray(12), vendor.subarray(8, 12)]).toString(),
    /vendor_id\s*: (\S+)/.exec(cpuinfo)?.[1],
  );
  const brand = Buffer.concat([0x80000002, 0x80000003, 0x80000004].map((leaf) => ask(leaf, 0)));
  assert.equal(
    brand.toString().replace(/\0.*$/s, '').trim(),
    /model name\s*: (.*)/.exec(cpuinfo)?.[1].trim(),
  );
  assert.equal(ask(0xd, 0).readUInt32LE(0) & 3, 3);
  assert.equal(ask(0xd, 2).readUInt32LE(0), 256, 'AVX state');
  assert.equal((ask(7, 0).readUInt32LE(4) & (1 << 5)) !== 0, /\bavx2\b/.test(cpuinfo));
  ask(0xffffffff, 0xffffffff);
});

test('a set before the wait is kept, so that a synchronous ECALL goes on at once', () => {
  const { handlers } = machine();
  const { sgx_thread_set_untrusted_event_ocall: set, sgx_thread_wait_untrusted_event_ocall: wait } = handlers;
  assert.equal(set(5n), SUCCESS);
  assert.equal(set(5n), SUCCESS);
  assert.equal(wait(5n), SUCCESS);
  assert.equal(wait(5n), SUCCESS);
  assert.ok(wait(5n) instanceof Promise, 'the third would sleep');
  set(6n);
  assert.equal(handlers.sgx_thread_setwait_untrusted_events_ocall(7n, 6n), SUCCESS);
  assert.equal(wait(7n), SUCCESS);
});

test('one set wakes one wait, in order, of that event only', async () => {
  const { handlers } = machine();
  const { sgx_thread_set_untrusted_event_ocall: set, sgx_thread_wait_untrusted_event_ocall: wait } = handlers;
  const order: string[] = [];
  const first = Promise.resolve(wait(1n)).then(() => order.push('first'));
  const second = Promise.resolve(wait(1n)).then(() => order.push('second'));
  const other = Promise.resolve(wait(2n)).then(() => order.push('other'));
  set(1n);
  await first;
  await new Promise(setImmediate);
  assert.deepEqual(order, ['first']);
  assert.equal(handlers.sgx_thread_set_multiple_untrusted_events_ocall([2n, 1n]), SUCCESS);
  await Promise.all([second, other]);
  assert.deepEqual(order, ['first', 'other', 'second']);
});

test('thousands of threads hand a token around, each asleep until its turn', async () => {
  const events = new ThreadEvents(new AbortController().signal);
  const count = 5000;
  let passed = 0;
  const threads = Array.from({ length: count }, async (_, i) => {
    for (let round = 0; round < 4; round++) {
      await events.wait(BigInt(i + 1));
      passed++;
      events.set(BigInt(((i + 1) % count) + 1));
    }
  });
  assert.equal(events.waiting, count);
  events.set(1n);
  await Promise.all(threads);
  assert.equal(passed, 4 * count);
  assert.deepEqual([events.waiting, events.size], [0, 1], 'the token is left over');
});

test('a flood of made-up events and waits ends in a status', async () => {
  const end = new AbortController();
  const events = new ThreadEvents(end.signal);
  for (let i = 1; i <= 65_536; i++) assert.equal(events.set(BigInt(i)), SUCCESS);
  assert.equal(events.set(2n ** 64n - 1n), NO_EVENT);
  assert.equal(events.wait(2n ** 63n), NO_EVENT);
  assert.equal(events.set(1n), SUCCESS, 'those that are there go on');
  for (let i = 1; i <= 65_536; i++) events.wait(BigInt(i));
  assert.equal(events.wait(1n), SUCCESS);
  assert.equal(events.size, 0);
  const waits = Array.from({ length: 65_536 }, () => events.wait(9n));
  assert.equal(events.wait(9n), WAIT_FAILED);
  end.abort();
  assert.deepEqual(new Set(await Promise.all(waits)), new Set([WAIT_FAILED]));
  assert.deepEqual([events.waiting, events.size], [0, 0]);
  assert.equal(events.wait(9n), WAIT_FAILED, 'and later ones at once');
});

test('nobody is no thread', () => {
  const { handlers } = machine();
  for (const name of ['wait_untrusted_event', 'set_untrusted_event', 'setwait_untrusted_events'])
    assert.equal(handlers[`sgx_thread_${name}_ocall`](0n, 0n), 2);
  for (const list of [null, [], [0n]])
    assert.equal(handlers.sgx_thread_set_multiple_untrusted_events_ocall(list), 2);
  assert.equal(handlers.pthread_create_ocall(0n), 2);
  assert.equal(handlers.pthread_wakeup_ocall(0n), SUCCESS);
});

test('timed waits end by themselves, or earlier when they are woken', async () => {
  const { handlers } = machine();
  const start = performance.now();
  assert.equal(await handlers.pthread_wait_timeout_ocall(3n, 1n), SUCCESS);
  assert.ok(performance.now() - start > 900);
  assert.ok(handlers.sgx_thread_wait_untrusted_event_ocall(3n) instanceof Promise, 'nothing is left of it');
  const woken = handlers.pthread_wait_timeout_ocall(4n, 2n ** 64n - 1n);
  handlers.pthread_wakeup_ocall(4n);
  assert.equal(await woken, SUCCESS);
});

test('a started thread wakes who waits for its end', async () => {
  const asked: bigint[] = [];
  let finish: (waiter: bigint) => void = () => undefined;
  const { handlers } = machine({
    startThread: (self) => {
      asked.push(self);
      return new Promise((resolve) => {
        finish = resolve;
      });
    },
  });
  assert.equal(handlers.pthread_create_ocall(0x1000n), SUCCESS);
  const join = handlers.sgx_thread_wait_untrusted_event_ocall(0x1000n);
  assert.deepEqual(asked, [0x1000n]);
  finish(0x1000n);
  assert.equal(await join, SUCCESS);
});

test('threads that cannot start, or fail, are told of', async () => {
  const full = machine({
    startThread: () => {
      throw new NsgxError('TCS_EXHAUSTED', 'all are inside');
    },
  });
  assert.equal(full.handlers.pthread_create_ocall(1n), 0x1003);
  const broken = machine({
    startThread: () => {
      throw new Error('odd');
    },
  });
  assert.equal(broken.handlers.pthread_create_ocall(1n), 1);
  const failing = machine({ startThread: () => Promise.reject(new Error('it crashed')) });
  const warning = new Promise<Error>((resolve) => process.once('warning', resolve));
  assert.equal(failing.handlers.pthread_create_ocall(1n), SUCCESS);
  assert.match((await warning).message, /it crashed/);
  let more = 0;
  const listen = () => more++;
  process.on('warning', listen);
  for (let i = 0; i < 100; i++) failing.handlers.pthread_create_ocall(1n);
  await new Promise((resolve) => setTimeout(resolve, 10));
  process.off('warning', listen);
  assert.equal(more, 0, 'an enclave cannot flood its host with warnings');
});

test('services that are not there say so; the time of day is right', () => {
  const { handlers } = machine();
  for (const name of [
    'get_qe_target_info',
    'get_quote_size',
    'get_quote',
    'get_supplemental_data_size',
    'verify_quote',
  ])
    assert.equal(handlers[`sgx_tls_${name}_ocall`](), 0xe040);
  for (const name of ['create_session', 'exchange_report', 'close_session', 'invoke_service'])
    assert.equal(handlers[`${name}_ocall`](), 0x4001);
  const timeb = new Uint8Array(16);
  handlers.u_sgxssl_ftime(timeb);
  const view = new DataView(timeb.buffer);
  const now = Number(view.getBigInt64(0, true)) * 1000 + view.getUint16(8, true);
  assert.ok(Math.abs(now - Date.now()) < 1000);
  for (const odd of [null, new Uint8Array(3)]) handlers.u_sgxssl_ftime(odd);
});
