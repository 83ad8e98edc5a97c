import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_KIND } from '@nestedsgx/guest';
import { EnclaveFault, EnclaveStatusError } from '../src/index.js';
import { ThreadPool } from '../src/thread-pool.js';
import { aex, direct, eret, makeThread, type Program, Structure } from './fake-enclave.js';

const bytes = (...values: number[]) => Uint8Array.from(values);
const codeOf = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
  return 'nothing thrown';
};

/** Returns its request backwards. */
const reverse = direct(({ rsi }, memory) => {
  const ms = new Structure(memory, rsi);
  ms.respond(ms.request().reverse());
  return eret();
});

/** Makes OCALL 3 with its request and returns the answer. */
const relay: Program = function* ({ rsi }, memory) {
  const ms = new Structure(memory, rsi);
  const pointer = ms.ocall(ms.request());
  yield { kind: EXIT_KIND.EEXIT, rdi: 3, rsi: pointer };
  const answer = new Structure(memory, pointer, 48);
  if (answer.get(5) !== 0) return eret(9);
  ms.respond(memory.viewAt(answer.get(2), answer.get(4)).slice());
  return eret();
};

test('an ECALL passes its request and gives back a copy of the response', async () => {
  const { thread, memory, gate } = makeThread(reverse);
  const blocks = memory.blocks;
  const first = thread.call(0, bytes(1, 2, 3), 'x');
  const second = thread.call(0, bytes(9), 'x');
  assert.deepEqual([first, second], [bytes(3, 2, 1), bytes(9)]);
  assert.equal(thread.call(0, bytes(), 'x').length, 0);
  assert.deepEqual(await thread.callAsync(7, bytes(5, 6), 'x'), bytes(6, 5));
  assert.equal(gate.entries.at(-1)?.rdi, 7);
  assert.equal(memory.blocks, blocks);
  thread.close();
  assert.equal(memory.used, 0);
  assert.equal(gate.closed, true);
});

test('large requests grow the buffer, and large buffers are given back', () => {
  const { thread, memory } = makeThread(reverse, { pages: 8192, sizes: { maxMessageBytes: 2 ** 23 } });
  const used = memory.used;
  const big = new Uint8Array(5 * 2 ** 20).fill(1);
  big[0] = 9;
  assert.equal(
    codeOf(() => thread.call(0, big, 'x')),
    'MESSAGE_MALFORMED',
  ); // the fake claims more than it wrote
  assert.equal(memory.used, used);
  assert.equal(
    codeOf(() => thread.call(0, new Uint8Array(2 ** 23 + 1), 'x')),
    'MESSAGE_TOO_LARGE',
  );
  assert.deepEqual(thread.call(0, bytes(1, 2), 'x'), bytes(2, 1));
});

test('a response that does not fit is kept and fetched into a larger buffer', () => {
  const answer = Uint8Array.from({ length: 100_000 }, (_, i) => i & 0xff);
  const program = direct(({ rsi }, memory) => eret(new Structure(memory, rsi).respond(answer) ? 0 : 2));
  const { thread, gate } = makeThread(program);
  assert.deepEqual(thread.call(0, bytes(), 'x'), answer);
  assert.deepEqual(
    gate.entries.map(({ rdi }) => rdi),
    [0, -100],
  );
  assert.deepEqual(thread.call(0, bytes(), 'x'), answer);
  assert.equal(gate.entries.length, 3);
  const { thread: limited } = makeThread(program, { sizes: { maxMessageBytes: 50_000 } });
  assert.equal(
    codeOf(() => limited.call(0, bytes(), 'x')),
    'MESSAGE_TOO_LARGE',
  );
});

test('OCALLs are answered, also when the answer is larger than the OCALL buffer', async () => {
  const { thread, owner } = makeThread(relay, {
    dispatch: (index, request) => Uint8Array.from({ length: request[0] * 100 }, () => index),
  });
  assert.deepEqual(thread.call(0, bytes(2), 'x'), new Uint8Array(200).fill(3));
  assert.equal(thread.call(0, bytes(160), 'x').length, 16_000);
  assert.equal(owner.counters.ocalls, 2);
  const { thread: later } = makeThread(relay, { dispatch: async (_, request) => request });
  assert.deepEqual(await later.callAsync(0, bytes(7, 8), 'x'), bytes(7, 8));
  const { thread: large } = makeThread(relay, { dispatch: () => new Uint8Array(16_300).fill(1) });
  assert.equal(large.call(0, bytes(1), 'x').length, 16_300);
});

test('a promise in a synchronous ECALL is an error at once, and the enclave gets to know', () => {
  const { thread, failures } = makeThread(relay, { dispatch: () => Promise.resolve(bytes(1)) });
  assert.equal(
    codeOf(() => thread.call(0, bytes(1), 'x')),
    'OCALL_PROMISE_IN_SYNC_ECALL',
  );
  const ignoring: Program = function* ({ rsi }, memory) {
    yield { kind: EXIT_KIND.EEXIT, rdi: 0, rsi: new Structure(memory, rsi).ocall(bytes()) };
    return eret();
  };
  const { thread: other } = makeThread(ignoring, { dispatch: () => Promise.reject(new Error('late')) });
  assert.equal(
    codeOf(() => other.call(0, bytes(), 'x')),
    'OCALL_PROMISE_IN_SYNC_ECALL',
  );
  assert.equal(failures.length, 0);
});

test('a handler that throws fails the OCALL; what the enclave makes of it decides', () => {
  const boom = () => {
    throw new Error('boom');
  };
  const { thread } = makeThread(relay, { dispatch: boom });
  assert.throws(() => thread.call(0, bytes(), 'x'), /boom/);
  const tolerant: Program = function* ({ rsi }, memory) {
    yield { kind: EXIT_KIND.EEXIT, rdi: 0, rsi: new Structure(memory, rsi).ocall(bytes()) };
    return eret();
  };
  assert.equal(makeThread(tolerant, { dispatch: boom }).thread.call(0, bytes(), 'x').length, 0);
});

test('pointers of an OCALL that leave the slice are refused without being followed', () => {
  for (const make of [() => 0, () => 2 ** 52, (good: number) => good + 4, (good: number) => good - 2 ** 40]) {
    const program: Program = function* ({ rsi }, memory) {
      const pointer = make(new Structure(memory, rsi).ocall(bytes(1)));
      yield { kind: EXIT_KIND.EEXIT, rdi: 0, rsi: pointer };
      return eret(9);
    };
    assert.equal(
      codeOf(() => makeThread(program).thread.call(0, bytes(), 'x')),
      'MESSAGE_MALFORMED',
    );
  }
  for (const [field, value] of [
    [0, 5],
    [1, 2 ** 40],
    [1, 2 ** 22],
  ]) {
    const program: Program = function* ({ rsi }, memory) {
      const pointer = new Structure(memory, rsi).ocall(bytes(1));
      new Structure(memory, pointer, 48).set(field, value);
      yield { kind: EXIT_KIND.EEXIT, rdi: 0, rsi: pointer };
      return eret(9);
    };
    assert.equal(
      codeOf(() => makeThread(program).thread.call(0, bytes(), 'x')),
      'MESSAGE_MALFORMED',
    );
  }
});

test('an exception that the enclave handles is resumed, as often as it happens', () => {
  const program: Program = function* (_, memory) {
    for (let i = 0; i < 3; i++) {
      const offered = yield aex(14, 6, 0x5000);
      assert.deepEqual([offered.leaf, offered.rdi], [2, -3]);
      const resumed = yield eret(0);
      assert.equal(resumed.leaf, 3);
    }
    assert.ok(memory);
    return eret();
  };
  const { thread, owner } = makeThread(program);
  thread.call(0, bytes(), 'x');
  assert.equal(owner.counters.exceptions, 3);
  const named = Object.values(owner.counters.causes).reduce((sum, count) => sum + count, 0);
  assert.equal(named, 3, 'each has a name');
});

test('an exception that nobody handles is a fault with its details, and the enclave is not used again', async () => {
  const program: Program = function* () {
    yield aex(14, 7, 0x2000_0000_1234);
    return eret(13);
  };
  for (const call of [
    (thread: ReturnType<typeof makeThread>['thread']) => async () => thread.call(0, bytes(), 'x'),
    (thread: ReturnType<typeof makeThread>['thread']) => () => thread.callAsync(0, bytes(), 'x'),
  ]) {
    const { thread, failures } = makeThread(program);
    await assert.rejects(call(thread), (error) => {
      assert.ok(error instanceof EnclaveFault);
      assert.deepEqual(
        [error.vectorName, error.errorCode, error.address, error.code],
        ['#PF', 7, 0x2000_0000_1234, 'ENCLAVE_FAULT'],
      );
      return true;
    });
    assert.equal(failures.length, 1);
    assert.equal(thread.depth, 0);
  }
});

test('an exception while one is offered, an abort after one, and a refused entry are faults too', () => {
  const twice: Program = function* () {
    yield aex(6);
    yield aex(13);
    return eret();
  };
  const aborts: Program = function* () {
    yield aex(0);
    yield eret(0);
    return eret(6);
  };
  const full: Program = function* () {
    yield aex(3);
    return { kind: EXIT_KIND.ENTRY_FAILED, rdi: 13 };
  };
  const names = [twice, aborts, full].map((program) => {
    try {
      makeThread(program).thread.call(0, bytes(), 'x');
    } catch (error) {
      return (error as EnclaveFault).vectorName;
    }
    return 'nothing thrown';
  });
  assert.deepEqual(names, ['#UD', '#DE', '#BP']);
});

test('an interrupt is resumed without telling the enclave, unless it is being closed', () => {
  const program: Program = function* () {
    const entry = yield aex(32);
    assert.equal(entry.leaf, 3);
    return eret();
  };
  const { thread, owner } = makeThread(program);
  thread.call(0, bytes(), 'x');
  assert.equal(owner.counters.interrupts, 1);
  owner.closing = true;
  assert.equal(
    codeOf(() => thread.call(0, bytes(), 'x')),
    'ENCLAVE_CLOSED',
  );
});

test('statuses, refused entries and loss have their own errors', () => {
  const exit = (value: ReturnType<typeof eret>) => direct(() => value);
  const failing = makeThread(exit(eret(0x10007))).thread;
  assert.throws(
    () => failing.call(0, bytes(), 'ECALL f'),
    (error) =>
      error instanceof EnclaveStatusError &&
      error.failure === 7 &&
      /ECALL f .*failed with 7/.test(error.message),
  );
  const named = makeThread(exit(eret(4))).thread;
  assert.throws(() => named.call(0, bytes(), 'x'), { code: 'ENCLAVE_STATUS', statusName: 'UNKNOWN_CALL' });
  assert.equal(
    codeOf(() => makeThread(exit({ kind: 3, rdi: 13 })).thread.call(0, bytes(), 'x')),
    'ENCLAVE_BAD_ENTRY',
  );
  const gone = makeThread(exit({ kind: EXIT_KIND.LOST }));
  assert.equal(
    codeOf(() => gone.thread.call(0, bytes(), 'x')),
    'ENCLAVE_LOST',
  );
  assert.equal(gone.failures.length, 1);
  const lying = direct(({ rsi }, memory) => {
    new Structure(memory, rsi).set(4, 2 ** 33);
    return eret();
  });
  assert.equal(
    codeOf(() => makeThread(lying).thread.call(0, bytes(), 'x')),
    'MESSAGE_MALFORMED',
  );
});

test('an OCALL handler may call the same thread again, to a limit, with its own buffers and stack', () => {
  let depth = 0;
  const stacks = new Set<number>();
  const made = makeThread(relay, {
    dispatch: (_, request) => {
      stacks.add(new Uint32Array(made.gate.page.buffer)[48 / 4]);
      if (++depth < 5) return made.thread.call(0, Uint8Array.from([...request, depth]), 'inner');
      return request;
    },
  });
  assert.deepEqual(made.thread.call(0, bytes(0), 'outer'), bytes(0, 1, 2, 3, 4));
  assert.equal(stacks.size, 5);
  assert.equal(made.thread.depth, 0);
  depth = -100;
  assert.equal(
    codeOf(() => made.thread.call(0, bytes(0), 'outer')),
    'ECALL_DEPTH',
  );
  assert.equal(made.thread.depth, 0);
});

test('ten thousand calls over 64 threads: all served, in turn, none lost', async () => {
  const threads = Array.from({ length: 64 }, () => makeThread(reverse, { pages: 64 }).thread);
  const pool = new ThreadPool(threads, 20_000);
  const order: number[] = [];
  const call = async (i: number): Promise<number> => {
    const thread = await pool.take();
    order.push(i);
    try {
      const answer = await thread.callAsync(0, bytes(i & 0xff, i >> 8), 'x');
      return answer[1] + (answer[0] << 8);
    } finally {
      pool.give(thread);
    }
  };
  const results = await Promise.all(Array.from({ length: 10_000 }, (_, i) => call(i)));
  assert.deepEqual(
    results,
    Array.from({ length: 10_000 }, (_, i) => i),
  );
  assert.deepEqual(order, results);
  assert.equal(pool.free, 64);
});

test('waiting calls are bounded, and refused when the enclave goes', async () => {
  const { thread } = makeThread(reverse);
  const pool = new ThreadPool([thread], 2);
  assert.equal(pool.take(), thread);
  assert.equal(pool.tryTake(), undefined);
  const waiting = [pool.take(), pool.take()];
  await assert.rejects(Promise.resolve(pool.take()), { code: 'TCS_EXHAUSTED' });
  pool.refuse(new Error('gone'));
  for (const one of waiting) await assert.rejects(Promise.resolve(one), /gone/);
  pool.give(thread);
  assert.equal(pool.free, 1);
});

test('what the driver cannot answer ends the enclave, for both ways of calling', async () => {
  for (const call of ['call', 'callAsync'] as const) {
    const { thread, gate, failures } = makeThread(direct(() => eret()));
    const damaged = Object.assign(new Error('damaged'), { code: 'EPC_PAGE_DAMAGED' });
    gate.enter = () => {
      throw damaged;
    };
    await assert.rejects(async () => thread[call](0, new Uint8Array(0), 'a call'), {
      code: 'EPC_PAGE_DAMAGED',
    });
    assert.deepEqual(failures, [damaged]);
    assert.equal(thread.depth, 0);
  }
});

test('a thread that comes later serves whoever waits longest', async () => {
  const { thread } = makeThread(direct(() => eret()));
  const { thread: later } = makeThread(direct(() => eret()));
  const pool = new ThreadPool([thread], 10);
  assert.equal(pool.tryTake(), thread);
  const waiting = pool.take();
  assert.equal(pool.waiting, 1);
  pool.add(later);
  assert.equal(await waiting, later);
  assert.deepEqual([pool.size, pool.free, pool.waiting], [2, 0, 0]);
});
