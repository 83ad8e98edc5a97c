/** The protocol of Intel's runtime from the host's side, against an enclave played by a generator. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_KIND, GuestMemory } from '@nestedsgx/guest';
import { ECMD, IntelThread, type IntelThreadOwner } from '../src/urts/intel-thread.js';
import type { EdlDispatch } from '../src/urts/ocall-dispatch.js';
import { aex, BASE, eret, FakeGate, GPA, type Program } from './fake-enclave.js';

const SIZE = 16 << 20;
const STACK = 1 << 20;
const ocall = (index: number, pointer = 0) => ({ kind: EXIT_KIND.EEXIT, rdi: index, rsi: pointer });

function make(program: Program, dispatch: EdlDispatch = () => undefined, aexNotify = false) {
  const memory = new GuestMemory({ base: BASE, slice: new Uint8Array(SIZE), gpa: GPA, length: SIZE });
  const failures: Error[] = [];
  const coped: Error[] = [];
  const runtimeOcalls: [number, number][] = [];
  const owner: IntelThreadOwner = {
    memory,
    counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
    closing: false,
    unusable: (error) => failures.push(error),
    dispatch,
    runtimeOcall: (index, pointer) => {
      runtimeOcalls.push([index, pointer]);
      return null;
    },
    ocallFailed: (error) => coped.push(error),
    stackBytes: STACK,
    maxMessageBytes: 1 << 20,
    aexNotify,
  };
  const gate = new FakeGate(program, memory);
  const thread = new IntelThread(owner, 0, gate.page, gate);
  const words = new BigUint64Array(gate.page.buffer);
  return {
    thread,
    memory,
    gate,
    failures,
    coped,
    runtimeOcalls,
    call: (index = 0) => thread.call(() => ({ index, address: 0n, finish: () => 'done' }), 'the call'),
    callAsync: (index = 0) => thread.callAsync(async_(index), 'the call'),
    /** RSP of the last entry. */
    rsp: () => Number(words[6]),
  };
}

const async_ = (index: number) => () => ({ index, address: 0n, finish: () => 'done' });

test('a status becomes an error by name, with the exception behind it as its cause', () => {
  let status = 0;
  const { call, failures } = make(function* () {
    yield* [];
    return eret(status);
  });
  assert.equal(call(), 'done');
  status = 2;
  assert.throws(() => call(), { code: 'SGX_STATUS', statusName: 'SGX_ERROR_INVALID_PARAMETER', status: 2 });
  status = 0xf0000;
  assert.throws(() => call(), { code: 'SGX_STATUS', statusName: 'UNKNOWN' });
  assert.equal(failures.length, 0);
  status = 0x1006;
  assert.throws(() => call(), { statusName: 'SGX_ERROR_ENCLAVE_CRASHED' });
  assert.equal(failures.length, 1, 'a crashed enclave takes no more calls');
});

test('ORET carries the status of the OCALL, not its structure', () => {
  const pointers: number[] = [];
  const { call, gate, runtimeOcalls } = make(
    function* () {
      yield ocall(0, 0);
      yield { ...ocall(2 ** 32 - 7, 4096), high: 0xffff_ffff };
      return eret();
    },
    (_, pointer) => {
      pointers.push(pointer);
      return undefined;
    },
  );
  call();
  const orets = gate.entries.filter(({ rdi }) => rdi === ECMD.ORET);
  assert.deepEqual(
    orets.map(({ rsi }) => rsi),
    [0, 0],
  );
  assert.deepEqual(runtimeOcalls, [[-7, 4096]], 'numbers of the runtime itself never reach handlers');
  assert.deepEqual(pointers, [0]);
});

test('a failed OCALL is told to the enclave; where that fails too, its error is the call’s', () => {
  let status = 1;
  const broken = new Error('broken');
  const { call, coped } = make(
    function* () {
      const { rsi } = yield ocall(0);
      assert.equal(rsi, 1);
      return eret(status);
    },
    () => {
      throw broken;
    },
  );
  assert.throws(() => call(), broken);
  status = 0;
  assert.equal(call(), 'done');
  assert.deepEqual(coped, [broken]);
});

test('calls inside OCALLs have their stack below what the enclave laid there', () => {
  const tops: number[] = [];
  const levels = make(
    function* ({ rdi }) {
      tops.push(levels.rsp());
      if (rdi < 3) yield ocall(rdi, levels.rsp() - 5000);
      return eret();
    },
    (index) => {
      levels.call(index + 1);
      return undefined;
    },
  );
  levels.call(0);
  assert.equal(tops.length, 4);
  for (let i = 1; i < tops.length; i++) {
    assert.ok(tops[i] <= tops[i - 1] - 5000 - 128, 'room below, red zone included');
    assert.equal(tops[i] % 16, 0);
  }
  assert.equal(levels.rsp(), tops[0], 'the outer call goes on where it was');
});

test('structures below the stack, elsewhere and nowhere; nesting without end', () => {
  let pointer = 0;
  const t = make(function* () {
    yield ocall(0, pointer);
    return eret();
  });
  t.memory.alloc(64 * 1024);
  t.call();
  const stack = t.rsp() - STACK;
  pointer = stack - 8192;
  assert.throws(() => t.call(), { code: 'OCALL_STACK_OVERFLOW' });
  for (const other of [BASE + GPA + SIZE, BASE - 4096, 8, 2 ** 47]) {
    pointer = other;
    assert.equal(t.call(), 'done', 'where a structure lies is the dispatch’s to check');
  }
  const deep = make(
    function* () {
      const { rsi } = yield ocall(0);
      return eret(rsi);
    },
    () => {
      deep.call();
      return undefined;
    },
  );
  assert.throws(() => deep.call(), { code: 'ECALL_DEPTH' });
  assert.equal(deep.thread.depth, 0);
});

test('an exception is offered on the next frame; a handler that copes has the call resumed', () => {
  const { call, gate } = make(function* ({ leaf }) {
    assert.equal(leaf, 2);
    const offered = yield aex(0);
    assert.deepEqual([offered.leaf, offered.rdi], [2, ECMD.EXCEPT]);
    const resumed = yield eret(0);
    assert.equal(resumed.leaf, 3);
    return eret(0);
  });
  assert.equal(call(), 'done');
  assert.equal(gate.entries.length, 3);
  const crashed = make(function* () {
    yield aex(6);
    return eret(0x1006);
  });
  assert.throws(() => crashed.call(), { code: 'ENCLAVE_FAULT', vectorName: '#UD' });
  assert.equal(crashed.failures.length, 1);
});

test('with AEX-Notify the enclave goes on from its handler: its next return is the call’s', () => {
  const { call, gate } = make(
    function* () {
      const offered = yield aex(0);
      assert.deepEqual([offered.leaf, offered.rdi], [2, ECMD.EXCEPT]);
      return eret(0);
    },
    undefined,
    true,
  );
  assert.equal(call(), 'done');
  assert.equal(gate.entries.length, 2);
});

test('promises of handlers are waited for in asynchronous calls and refused in others', async () => {
  let answered = 0;
  const t = make(
    function* () {
      const { rsi } = yield ocall(0);
      return eret(rsi);
    },
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      answered++;
    },
  );
  assert.equal(await t.callAsync(), 'done');
  assert.equal(answered, 1);
  assert.throws(() => t.call(), { code: 'OCALL_PROMISE_IN_SYNC_ECALL' });
  await t.thread.rest;
  t.thread.close();
  assert.equal(t.memory.used, 0);
});

test('a synchronous call whose OCALL takes time fails at once and goes on by itself', async () => {
  let answered = false;
  const t = make(
    function* () {
      const { rsi } = yield ocall(0);
      answered = rsi === 0;
      return eret(rsi);
    },
    () => new Promise((resolve) => setTimeout(resolve, 5)),
  );
  assert.throws(() => t.call(), { code: 'OCALL_PROMISE_IN_SYNC_ECALL' });
  assert.equal(t.thread.depth, 1);
  await t.thread.rest;
  assert.deepEqual([answered, t.thread.depth, t.thread.rest], [true, 0, null]);
  assert.deepEqual(t.failures, []);
});
