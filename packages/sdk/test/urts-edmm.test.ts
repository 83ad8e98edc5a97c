/** Dynamic memory of Intel's runtime from the host's side: what it may ask for, and what the driver is asked then. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_KIND, GuestMemory, SgxIoctlError } from '@nestedsgx/guest';
import type { Onward } from '../src/gate-thread.js';
import { DynamicThreads } from '../src/urts/edmm/dynamic-threads.js';
import { type PageDriver, pageChanges } from '../src/urts/edmm/page-changes.js';
import { IntelThread, type IntelThreadOwner } from '../src/urts/intel-thread.js';
import { aex, eret, FakeGate, GPA, BASE as RAM } from './fake-enclave.js';

const BASE = 0x5000_0000_0000;
const SIZE = 0x100_0000;
const [ALLOC, MODIFY] = [-6, -7];
const [REG, TCS, TRIM] = [0x200, 0x100, 0x400];
const INVALID = 9;

interface Asked {
  readonly what: string;
  readonly offset: number;
  readonly length: number;
  readonly detail?: number;
}

/** A driver that notes what it is asked; `stop` makes it stop after so many bytes, once. */
function machine(stop?: { after: number; error: SgxIoctlError }) {
  const asked: Asked[] = [];
  const slice = new Uint8Array(4096);
  const note = (what: string, offset: number, length: number, detail?: number): number => {
    asked.push({ what, offset, length, ...(detail === undefined ? {} : { detail }) });
    if (stop === undefined) return length;
    stop.error.count = stop.after;
    const { error } = stop;
    if (stop.after > 0) stop = undefined;
    throw error;
  };
  const driver: PageDriver = {
    base: BASE,
    size: SIZE,
    populate: (offset, length) => note('populate', offset, length),
    restrictPermissions: ({ offset, length, permissions }) => note('restrict', offset, length, permissions),
    modifyTypes: ({ offset, length, pageType }) => note('type', offset, length, pageType),
    removePages: ({ offset, length }) => note('remove', offset, length),
  };
  const change = pageChanges(driver, {
    viewAt: (address, length) => {
      if (address < 0 || address + length > slice.length) throw new Error('outside');
      return slice.subarray(address, address + length);
    },
  });
  const ask = (index: number, address: bigint, length: bigint, first = 0, second = 0) => {
    const view = new DataView(slice.buffer);
    view.setInt32(64, -1, true);
    view.setBigUint64(72, address, true);
    view.setBigUint64(80, length, true);
    view.setUint32(88, first, true);
    view.setUint32(92, second, true);
    const error = change(index, 64);
    return { error, result: view.getInt32(64, true) };
  };
  return { asked, ask, change };
}

const at = (offset: number) => BigInt(BASE + offset);

test('each change of properties becomes the ioctl that Intel’s untrusted runtime uses', () => {
  const { asked, ask } = machine();
  const cases: [number, number, Omit<Asked, 'offset' | 'length'> | null][] = [
    [REG | 3, TRIM | 3, { what: 'type', detail: 4 }],
    [REG, TRIM, { what: 'type', detail: 4 }],
    [TCS, TRIM, { what: 'type', detail: 4 }],
    [TRIM | 3, TRIM | 3, { what: 'remove' }],
    [TRIM, TRIM, { what: 'remove' }],
    [REG | 3, TCS | 3, { what: 'type', detail: 1 }],
    [REG | 3, REG | 1, { what: 'restrict', detail: 1 }],
    [REG | 1, REG | 3, { what: 'restrict', detail: 3 }],
    [REG | 3, REG, { what: 'restrict', detail: 0 }],
    [REG, REG, null],
    [REG | 5, REG | 5, null],
  ];
  for (const [from, to, expected] of cases) {
    asked.length = 0;
    assert.deepEqual(ask(MODIFY, at(0x3000), 0x2000n, from, to), { error: null, result: 0 });
    assert.deepEqual(asked, expected === null ? [] : [{ ...expected, offset: 0x3000, length: 0x2000 }]);
  }
  asked.length = 0;
  assert.equal(ask(ALLOC, at(0), BigInt(SIZE), REG, 0x44).result, 0, 'on demand: nothing to do');
  assert.equal(asked.length, 0);
  assert.equal(ask(ALLOC, at(0x1000), 0x3000n, REG, 0x2).result, 0);
  assert.deepEqual(asked, [{ what: 'populate', offset: 0x1000, length: 0x3000 }], 'all is accepted next');
  assert.equal(ask(ALLOC, at(0), BigInt(SIZE), REG, 0x2).result, 0);
  assert.equal(asked[1].length, 4 * 2 ** 20, 'one call adds so much at most');
});

test('what cannot be never reaches the driver, and the enclave is told', () => {
  const { asked, ask, change } = machine();
  const ranges: [bigint, bigint][] = [
    [at(1), 0x1000n],
    [at(0), 0x1001n],
    [at(0), 0n],
    [at(-0x1000), 0x1000n],
    [at(SIZE), 0x1000n],
    [at(0), BigInt(SIZE) + 0x1000n],
    [at(SIZE - 0x1000), 0x2000n],
    [at(0x1000), 2n ** 64n - 0x1000n],
    [2n ** 64n - 0x1000n, 0x1000n],
    [2n ** 64n - 0x1000n, 0x2000n],
    [0n, 0x1000n],
    [at(0) | (1n << 63n), 0x1000n],
    [at(0x1000), 1n << 63n],
  ];
  for (const [address, length] of ranges)
    for (const index of [ALLOC, MODIFY]) {
      const { error, result } = ask(index, address, length, REG | 3, TRIM | 3);
      assert.equal((error as { code?: string } | null)?.code, 'MESSAGE_MALFORMED', `${address}+${length}`);
      assert.equal(result, INVALID);
    }
  const changes: [number, number][] = [
    [TRIM, REG],
    [TRIM | 3, TCS | 3],
    [REG | 3, TRIM],
    [REG | 1, TCS | 3],
    [TCS | 3, REG | 3],
    [TCS, TCS],
    [TCS, TCS | 1],
    [0x500, REG],
    [0x300, 0x300 | 1],
    [0xffff_ffff, 0],
  ];
  for (const [from, to] of changes) {
    const { error, result } = ask(MODIFY, at(0), 0x1000n, from, to);
    assert.equal(
      (error as { code?: string } | null)?.code,
      'MESSAGE_MALFORMED',
      `0x${from.toString(16)} → 0x${to.toString(16)}`,
    );
    assert.equal(result, INVALID);
  }
  for (const index of [-2, -3, -4, -5])
    assert.throws(() => ask(index, at(0), 0x1000n), { code: 'OCALL_UNKNOWN' });
  for (const pointer of [-1, 4095, 2 ** 53]) assert.throws(() => change(MODIFY, pointer), /outside/);
  assert.deepEqual(asked, []);
});

test('the structure is read once: what the enclave changes meanwhile does not count', () => {
  const bytes = new Uint8Array(64);
  const seen: number[] = [];
  const driver: PageDriver = {
    base: BASE,
    size: SIZE,
    populate: () => 0,
    modifyTypes: () => 0,
    removePages: () => 0,
    restrictPermissions: ({ offset, length }) => {
      seen.push(offset, length);
      bytes.fill(0xff, 8, 32);
      return 0x1000;
    },
  };
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, at(0x2000), true);
  view.setBigUint64(16, 0x2000n, true);
  view.setUint32(24, REG | 3, true);
  view.setUint32(28, REG | 1, true);
  assert.equal(pageChanges(driver, { viewAt: () => bytes })(MODIFY, 0), null);
  assert.deepEqual(seen, [0x2000, 0x2000, 0x3000, 0x1000]);
});

test('a driver that stops goes on from there, and its refusal becomes a number', () => {
  const busy = new SgxIoctlError('EFAULT', 'in the way');
  const partial = machine({ after: 0x1000, error: busy });
  assert.equal(partial.ask(MODIFY, at(0), 0x3000n, REG | 3, TRIM | 3).result, 0);
  assert.deepEqual(
    partial.asked.map(({ offset, length }) => [offset, length]),
    [
      [0, 0x3000],
      [0x1000, 0x2000],
    ],
  );
  for (const [errno, result] of [
    ['ENOMEM', 10],
    ['EINVAL', 9],
    ['EACCES', 6],
    ['EFAULT', 0x1001],
  ] as const) {
    const error = new SgxIoctlError(errno, 'no');
    assert.deepEqual(machine({ after: 0, error }).ask(MODIFY, at(0), 0x1000n, REG | 3, TRIM | 3), {
      error,
      result,
    });
  }
});

test('threads are made one after the other, known to the driver, and never while one is being made', () => {
  const known = new Map([[0, { tcs: 0x1000, ossa: 0x2000, nssa: 2 }]]);
  const made: number[] = [];
  let slot: number | null = 7;
  const driver = {
    base: BASE,
    ssaFrameBytes: 4096,
    threadSlot: () => slot,
    threads: {
      count: 1,
      known: (gate: number) => known.get(gate),
      learn: (gate: number, thread: { tcs: number; ossa: number; nssa: number }) => known.set(gate, thread),
    },
  } as unknown as ConstructorParameters<typeof DynamicThreads>[0];
  const threads: DynamicThreads = new DynamicThreads(driver, [0x8000, 0x9000, 0xa000], (tcs) => {
    made.push(tcs);
    assert.equal(threads.left, 0, 'another one would enter the same thread');
    assert.throws(() => threads.next(), { code: 'TCS_EXHAUSTED' });
    if (made.length === 3) throw new Error('MKTCS failed');
  });
  assert.equal(threads.left, 3);
  assert.equal(threads.next(), 7);
  assert.deepEqual(made, [BASE + 0x8000]);
  assert.deepEqual(known.get(7), { tcs: 0x8000, ossa: 0x9000, nssa: 2 });
  slot = null;
  assert.throws(() => threads.next(), { code: 'TCS_EXHAUSTED', message: /gate/ });
  assert.throws(() => threads.next(), /MKTCS failed/);
  assert.throws(() => threads.next(), { code: 'TCS_EXHAUSTED', message: /no thread left/ });
});

/** A gate that asks `onward` about every exit, as while another call blocks the event loop. */
class AskingGate extends FakeGate {
  answered = 0;

  override async enterAsync(leaf: number, rdi: number, rsi: number, onward?: Onward): Promise<number> {
    let kind = this.enter(leaf, rdi, rsi);
    for (let next = onward?.(kind); next; next = onward?.(kind)) {
      this.answered++;
      kind = this.enter(next.leaf, next.rdi, next.rsi);
    }
    return kind;
  }
}

test('requests of the runtime, interrupts and exceptions of asynchronous calls are answered where they arrive', async () => {
  const memory = new GuestMemory({ base: RAM, slice: new Uint8Array(1 << 20), gpa: GPA, length: 1 << 20 });
  const refused = new SgxIoctlError('ENOMEM', 'no EPC');
  const indices: number[] = [];
  let handled = 0;
  const owner = {
    memory,
    counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
    closing: false,
    unusable: () => undefined,
    dispatch: () => {
      handled++;
      return Promise.resolve();
    },
    runtimeOcall: (index) => {
      indices.push(index);
      if (indices.length === 3) throw new Error('not in guest RAM');
      return indices.length === 2 ? refused : null;
    },
    ocallFailed: () => undefined,
    stackBytes: 1 << 16,
    maxMessageBytes: 1 << 16,
    aexNotify: false,
  } satisfies IntelThreadOwner;
  const ocall = (index: number) => ({ kind: EXIT_KIND.EEXIT, rdi: index >>> 0, rsi: 0 });
  const told: number[] = [];
  const gate = new AskingGate(function* () {
    for (const index of [-7, -6, -6]) {
      const { leaf, rdi, rsi } = yield ocall(index);
      assert.deepEqual([leaf, rdi], [2, -2]);
      told.push(rsi);
    }
    assert.equal((yield aex(32)).leaf, 3, 'an interrupted thread is resumed');
    assert.equal((yield aex(14)).rdi, -3);
    assert.equal((yield eret(0)).leaf, 3, 'the exception has been dealt with');
    assert.equal((yield ocall(0)).rdi, -2);
    return eret(0x1006);
  }, memory);
  const thread = new IntelThread(owner, 0, gate.page, gate);
  const call = thread.callAsync(() => ({ index: 1, address: 0n, finish: () => 0 }), 'the call');
  await assert.rejects(call, /not in guest RAM/);
  assert.deepEqual(indices, [-7, -6, -6]);
  assert.deepEqual(
    told,
    [0, 0, 1],
    'a refusal is in the structure; without a structure the status is an error',
  );
  assert.equal(gate.answered, 6);
  assert.equal(handled, 1, 'OCALLs of the host’s handlers are left to the event loop');
  assert.deepEqual([owner.counters.ocalls, owner.counters.interrupts, owner.counters.exceptions], [4, 1, 1]);
});

test('why memory was refused is the cause of the status with which the ECALL failed', () => {
  const memory = new GuestMemory({ base: RAM, slice: new Uint8Array(1 << 20), gpa: GPA, length: 1 << 20 });
  const refused = new SgxIoctlError('ENOMEM', 'no EPC');
  const gate = new FakeGate(function* () {
    yield { kind: EXIT_KIND.EEXIT, rdi: ALLOC >>> 0, rsi: 0 };
    return eret(3);
  }, memory);
  const owner: IntelThreadOwner = {
    memory,
    counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
    closing: false,
    unusable: () => undefined,
    dispatch: () => undefined,
    runtimeOcall: () => refused,
    ocallFailed: () => undefined,
    stackBytes: 1 << 16,
    maxMessageBytes: 1 << 16,
    aexNotify: false,
  };
  const thread = new IntelThread(owner, 0, gate.page, gate);
  assert.throws(() => thread.call(() => ({ index: 0, address: 0n, finish: () => 0 }), 'the call'), {
    code: 'SGX_STATUS',
    statusName: 'SGX_ERROR_OUT_OF_MEMORY',
    cause: refused,
  });
});
