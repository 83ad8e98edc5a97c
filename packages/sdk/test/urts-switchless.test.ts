/** Switchless calls against a model of the trusted half: threads over the same memory, and hostile contents of it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { EXIT_KIND, SWITCHLESS_TASK } from '@nestedsgx/cpu/host';
import type { GuestConnection } from '@nestedsgx/guest';
import { openGates } from '../src/gates.js';
import { CALL_MANAGER, USWITCHLESS, WORKERS } from '../src/urts/switchless/shared-lines.js';
import {
  type OcallOrigin,
  SwitchlessCalls,
  type SwitchlessOwner,
  type Worker,
} from '../src/urts/switchless/switchless-calls.js';
import { type SwitchlessOptions, switchlessConfig } from '../src/urts/switchless/switchless-options.js';
import { inFolder, STRUCTURES, SwitchlessModel } from './switchless-model.js';

/** Nothing becomes an ordinary call. */
const PATIENT: SwitchlessOptions = { retriesBeforeFallback: 2 ** 32 - 1 };

interface Setup {
  options?: SwitchlessOptions;
  dispatch?: SwitchlessOwner['dispatch'];
  origin?: SwitchlessOwner['origin'];
  worker?: Partial<Worker>;
}

async function withCalls(
  { options = {}, dispatch = () => undefined, origin = () => undefined, worker = {} }: Setup,
  body: (made: {
    model: SwitchlessModel;
    calls: SwitchlessCalls;
    events: string[];
    failures: Error[];
    unusable: Error[];
    served: [number, number][];
  }) => Promise<void> | void,
): Promise<void> {
  const model = new SwitchlessModel();
  const [events, failures, unusable]: [string[], Error[], Error[]] = [[], [], []];
  const served: [number, number][] = [];
  const calls = new SwitchlessCalls(
    {
      memory: model.memory,
      maxMessageBytes: 1 << 20,
      counters: { ecalls: 0, ocalls: 0 },
      dispatch: (index, pointer) => {
        served.push([index, pointer]);
        return dispatch(index, pointer);
      },
      outside: (run) => run(),
      origin,
      poll: () => undefined,
      unusable: (error) => unusable.push(error),
      ocallFailed: (error) => failures.push(error),
      event: (type, event) => events.push(`${type} ${event}`),
    },
    switchlessConfig(options),
  );
  // The model's threads never leave, so nobody need look after them.
  const idle = {
    thread: { index: 0, takeFailure: () => undefined },
    inside: true,
    start() {},
    step: () => undefined,
  };
  calls.start([{ ...idle, ...worker }]);
  try {
    await body({ model, calls, events, failures, unusable, served });
  } finally {
    calls.stop(0, () => undefined);
    await model.close(() => calls.close());
  }
}

const lines = (calls: SwitchlessCalls) => {
  const { bytes } = calls.shared.block;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const manager = (at: number) => ({
    events: Number(view.getBigUint64(at + CALL_MANAGER.eventLines, true)) - calls.shared.address,
    tasks: Number(view.getBigUint64(at + CALL_MANAGER.tasks, true)) - calls.shared.address,
  });
  return { view, ocalls: manager(USWITCHLESS.ocalls), ecalls: manager(USWITCHLESS.ecalls) };
};

test('the shared structures lie as a C compiler lays them', () => {
  const places: Record<string, number> = {
    'sizeof(struct shared)': USWITCHLESS.size,
    'sizeof(struct manager)': CALL_MANAGER.size,
    'sizeof(struct crew)': WORKERS.size,
    'sizeof(struct task)': SWITCHLESS_TASK.size,
    'offsetof(struct shared, config.words)': USWITCHLESS.config.poolWords,
    'offsetof(struct shared, config.untrusted)': USWITCHLESS.config.untrustedWorkers,
    'offsetof(struct shared, config.trusted)': USWITCHLESS.config.trustedWorkers,
    'offsetof(struct shared, config.fallback)': USWITCHLESS.config.retriesBeforeFallback,
    'offsetof(struct shared, config.sleep)': USWITCHLESS.config.retriesBeforeSleep,
    'offsetof(struct shared, missed)': USWITCHLESS.missedOcall,
    'offsetof(struct shared, ocalls)': USWITCHLESS.ocalls,
    'offsetof(struct shared, ecalls)': USWITCHLESS.ecalls,
    'offsetof(struct shared, stop)': USWITCHLESS.shouldStop,
    'offsetof(struct shared, untrusted)': USWITCHLESS.untrustedWorkers,
    'offsetof(struct shared, trusted)': USWITCHLESS.trustedWorkers,
    'offsetof(struct shared, wake)': USWITCHLESS.wakeWorkers,
    'offsetof(struct shared, initialised)': USWITCHLESS.initialised,
    'offsetof(struct manager, lines.direction)': CALL_MANAGER.direction,
    'offsetof(struct manager, lines.count)': CALL_MANAGER.lineCount,
    'offsetof(struct manager, lines.events)': CALL_MANAGER.eventLines,
    'offsetof(struct manager, lines.unused)': CALL_MANAGER.freeLines,
    'offsetof(struct manager, tasks)': CALL_MANAGER.tasks,
    'offsetof(struct crew, kind)': WORKERS.type,
    'offsetof(struct crew, processed)': WORKERS.processed,
    'offsetof(struct crew, missed)': WORKERS.missed,
    'offsetof(struct crew, all)': WORKERS.all,
    'offsetof(struct crew, running)': WORKERS.running,
    'offsetof(struct crew, sleeping)': WORKERS.sleeping,
    'offsetof(struct task, function)': SWITCHLESS_TASK.at.function,
    'offsetof(struct task, data)': SWITCHLESS_TASK.at.data,
    'offsetof(struct task, result)': SWITCHLESS_TASK.at.result,
  };
  inFolder((path) => {
    const asserts = Object.entries(places).map(
      ([place, is]) => `_Static_assert(${place} == ${is}, "${place}");`,
    );
    writeFileSync(path('a.c'), `${STRUCTURES}${asserts.join('\n')}\n`);
    execFileSync('gcc', ['-std=gnu11', '-fsyntax-only', path('a.c')]);
  });
});

test('ECALLs find a worker, and lines are used again', () =>
  withCalls({ options: PATIENT }, async ({ model, calls, events }) => {
    const worker = model.run('worker', calls.shared.address);
    const data = model.memory.alloc(8, { zero: true });
    for (let i = 0; i < 500; i++) assert.equal(calls.call(0, data.address), 0);
    assert.equal(data.bytes[0] + data.bytes[1] * 256, 500);
    assert.equal(calls.call(9, data.address), 0x1001, 'an ECALL that is none');
    assert.equal(calls.call(2, data.address), 0, 'longer than the caller stays awake');
    assert.equal(calls.call(3, data.address), 0, 'a status that is none is waited out');
    assert.equal(calls.stats().ecalls.processed, 503);
    calls.stop(0, () => undefined);
    assert.equal(await worker.done, 503);
    assert.ok(events.includes('trusted start') && events.includes('trusted exit'));
    assert.equal(calls.call(0, data.address), undefined, 'after the end');
  }));

test('marshalled ECALLs end with their status as other ECALLs do', () =>
  withCalls({ options: PATIENT }, async ({ model, calls, unusable }) => {
    model.run('worker', calls.shared.address);
    const call = (index: number) =>
      calls.ecall((arena) => {
        const address = arena.alloc(8, 8);
        const bytes = arena.view(address, 8);
        bytes.fill(1);
        return { index, address, finish: () => bytes[0] };
      }, 'the call');
    assert.deepEqual(call(0), { value: 2 });
    assert.throws(() => call(9), { code: 'SGX_STATUS', statusName: 'SGX_ERROR_INVALID_FUNCTION' });
    assert.equal(unusable.length, 0);
    assert.throws(() => call(4), { statusName: 'SGX_ERROR_ENCLAVE_CRASHED' });
    assert.equal(unusable.length, 1, 'a crashed enclave takes no more calls');
    const before = model.memory.used;
    call(0);
    assert.equal(model.memory.used, before);
  }));

test('an ECALL that nobody takes is taken back, and becomes an ordinary one', () =>
  withCalls({ options: { retriesBeforeFallback: 50 } }, ({ calls, events }) => {
    for (let i = 0; i < 200; i++) assert.equal(calls.call(0, 4096), undefined);
    const { view, ecalls } = lines(calls);
    assert.equal(view.getBigUint64(ecalls.events, true), 0n);
    assert.equal(
      view.getBigUint64(ecalls.tasks + 8, true),
      2n ** 64n - 1n,
      'the task names no function any more',
    );
    assert.deepEqual(calls.stats().ecalls, { processed: 0, missed: 200 });
    assert.equal(events.filter((event) => event === 'trusted miss').length, 200);
  }));

test('OCALLs are answered by the thread that waits for the enclave', () =>
  withCalls({ options: PATIENT }, async ({ model, calls, served }) => {
    const block = model.memory.alloc(4096, { alignment: 4096, zero: true });
    const file = { faults: undefined, kick() {} } as unknown as Parameters<typeof openGates>[2];
    const gates = openGates({ cvmPidfd: -1 } as GuestConnection, block, file);
    const gate = gates.gate(0);
    gates.watch(calls);
    const enclave = model.run('enclave', calls.shared.address, {
      gate: block.address,
      data: 0x5000,
      function: 3,
      count: 300,
      step: 7,
    });
    assert.equal(gate.enter(2, 1, 2), EXIT_KIND.EEXIT);
    assert.equal(await enclave.done, 300);
    assert.deepEqual(served, Array(300).fill([3, 0x5000]));
    assert.deepEqual(calls.stats().ocalls, { processed: 300, missed: 0 });
    gate.close();
    gates.close();
  }));

test('an OCALL of a worker is answered while its ECALL is waited for; a call inside finds no worker', () => {
  const inner: unknown[] = [];
  let nested: SwitchlessCalls | undefined;
  const dispatch = () => {
    inner.push(nested?.call(0, 4096));
    return undefined;
  };
  return withCalls({ dispatch, options: { retriesBeforeFallback: 20_000 } }, ({ model, calls }) => {
    nested = calls;
    model.run('worker', calls.shared.address, { function: 3 });
    // The model gives up its OCALL where this thread is not on a CPU; then its result is −1.
    let result: number | undefined;
    do result = calls.call(1, 4096);
    while (result !== 0);
    assert.ok(inner.length >= 1 && inner.every((answer) => answer === undefined));
  });
});

test('while asynchronous calls are under way the event loop answers, and handlers may take their time', () =>
  withCalls(
    {
      options: PATIENT,
      dispatch: (index) => (index === 1 ? new Promise<void>((resolve) => setTimeout(resolve, 5)) : undefined),
    },
    async ({ model, calls, served }) => {
      calls.hold();
      const many = model.run('ocalls', calls.shared.address, { function: 2, count: 200 });
      assert.equal(await many.done, 200);
      const slow = model.run('ocalls', calls.shared.address, { function: 1, count: 3 });
      assert.equal(await slow.done, 3);
      assert.equal(slow.read().last, 0);
      calls.release();
      calls.hold();
      const again = model.run('ocalls', calls.shared.address, { function: 2 });
      assert.equal(await again.done, 1, 'a watch that was just stopped begins again');
      calls.release();
      assert.equal(served.length, 204);
    },
  ));

test('nobody watches without an asynchronous call: the enclave leaves for its OCALL, and the host is told', () =>
  withCalls({ options: { retriesBeforeFallback: 100 } }, async ({ model, calls, events, served }) => {
    const run = model.run('ocalls', calls.shared.address, { count: 3 });
    assert.equal(await run.done, 0);
    calls.noteOrdinaryOcall();
    calls.noteOrdinaryOcall();
    assert.deepEqual(calls.stats().ocalls, { processed: 0, missed: 3 });
    assert.equal(events.filter((event) => event === 'untrusted miss').length, 1);
    assert.equal(served.length, 0);
  }));

test('failures of OCALLs go to the call on whose stack they lie, or to the one who asked for them', () => {
  const noted: Error[] = [];
  const origin = (pointer: number): OcallOrigin | undefined =>
    pointer === 0x5000 ? { blocking: true, failed: (error) => noted.push(error) } : undefined;
  const dispatch = (index: number) => {
    if (index === 1) return Promise.resolve();
    throw new Error('the handler');
  };
  return withCalls({ dispatch, origin }, ({ calls, failures }) => {
    const { view, ocalls } = lines(calls);
    const put = (line: number, fn: bigint, data: bigint) => {
      view.setBigUint64(ocalls.tasks + line * SWITCHLESS_TASK.size + SWITCHLESS_TASK.at.function, fn, true);
      view.setBigUint64(ocalls.tasks + line * SWITCHLESS_TASK.size + SWITCHLESS_TASK.at.data, data, true);
    };
    put(0, 0n, 0x5000n);
    assert.equal(calls.serve(0), 1);
    put(1, 0n, 0n);
    assert.equal(calls.serve(1), 1);
    put(2, 1n, 0x5000n);
    assert.equal(calls.serve(2), 1, 'a promise while JavaScript waits');
    assert.deepEqual(
      noted.map((error) => (error as { code?: string }).code ?? error.message),
      ['the handler', 'OCALL_PROMISE_IN_SYNC_ECALL'],
    );
    assert.equal(failures.length, 1);
    for (const fn of [2n ** 31n, 2n ** 32n, 2n ** 64n - 7n]) {
      put(3, fn, 0n);
      assert.equal(calls.serve(3), 0x1001);
    }
  });
});

test('lines that announce no task are forgotten', () =>
  withCalls({ options: { poolWords: 8, retriesBeforeFallback: 4000 } }, ({ calls, served }) => {
    const { view, ocalls } = lines(calls);
    for (let word = 0; word < 8; word++) view.setBigUint64(ocalls.events + word * 8, 2n ** 64n - 1n, true);
    // One is submitted, on the last line; others claim to be in states of every kind.
    const status = (line: number, value: bigint) =>
      view.setBigUint64(ocalls.tasks + line * SWITCHLESS_TASK.size, value, true);
    for (let line = 0; line < 511; line++) status(line, [0n, 2n, 3n, 77n, 2n ** 32n + 1n][line % 5]);
    status(511, 1n);
    view.setBigUint64(ocalls.tasks + 511 * SWITCHLESS_TASK.size + SWITCHLESS_TASK.at.function, 6n, true);
    assert.equal(calls.call(0, 4096), undefined);
    assert.equal(served.length, 1);
    assert.equal(served[0][0], 6);
    for (let word = 0; word < 8; word++) assert.equal(view.getBigUint64(ocalls.events + word * 8, true), 0n);
  }));

test('options are checked', () => {
  assert.deepEqual(switchlessConfig({}), {
    trustedWorkers: 1,
    untrustedWorkers: 1,
    retriesBeforeFallback: 20_000,
    retriesBeforeSleep: 20_000,
    words: 1,
  });
  assert.equal(switchlessConfig({ retriesBeforeSleep: 0 }).retriesBeforeSleep, 20_000);
  for (const bad of [
    { trustedWorkers: 0, untrustedWorkers: 0 },
    { trustedWorkers: -1 },
    { trustedWorkers: 65 },
    { trustedWorkers: 1.5 },
    { untrustedWorkers: '1' as unknown as number },
    { retriesBeforeFallback: 2 ** 32 },
    { poolWords: 9 },
    { poolWords: 0 },
  ])
    assert.throws(() => switchlessConfig(bad), { code: 'LAUNCH_OPTION_INVALID' }, JSON.stringify(bad));
});
