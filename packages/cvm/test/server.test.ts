/** The control socket against peers that do not mean well. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import type { MonitorStats, TraceEvent, TraceSink } from '@nestedsgx/monitor';
import * as os from '@nestedsgx/os';
import { Resources } from '../src/control/resources.js';
import { type ControlBackend, ControlServer } from '../src/control/server.js';
import { TRACE_RING, TRACER_LIMIT, TRACERS_RESERVED, Tracing } from '../src/control/tracing.js';
import { visible, visibleOf } from '../src/control/visible.js';

const descriptors = () => readdirSync('/proc/self/fd').length;
const text = (value: object) => new TextEncoder().encode(JSON.stringify(value));

class Backend implements ControlBackend {
  readonly resources = new Resources({ gpa: 0, bytes: 2 ** 30, relayed: false }, 2 ** 30, 'service');
  readonly isolation = 'same-user';
  readonly ram = { base: 0, size: 0, doorbell: 0, fd: 0 };
  readonly selfPidfd = 0;
  attached: number[] = [];
  detached: number[] = [];
  enclaves: object[] = [];
  sink: TraceSink | undefined;
  /** Thrown by the next call that could fail. */
  failure: Error | null = null;

  #fail(): void {
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }
  attach(owner: number): void {
    this.#fail();
    this.attached.push(owner);
  }
  addVcpu(): void {
    this.#fail();
  }
  detach(owner: number): void {
    this.detached.push(owner);
    this.#fail();
  }
  info(): object {
    return {};
  }
  processes(): { owner: number }[] {
    return this.enclaves as { owner: number }[];
  }
  stats(): MonitorStats {
    const epc = { frames: 1, used: 0, deposited: 0 };
    const enclaves = this.enclaves as MonitorStats['enclaves'];
    const failures = { count: 0, recent: [] };
    return { isolation: 'same-user', epc, calls: 0, failures, leaves: {}, enclaves };
  }
  takeGrants(owner: number, secs: number): number | null {
    return owner === 1 && secs === 0x1000 ? os.memfdCreate('grants', { size: 1 }) : null;
  }
  setTrace(sink: TraceSink | undefined): void {
    this.sink = sink;
  }
  requestStop(): void {}
}

let pump: os.EventPump;
let backend: Backend;
let server: ControlServer;

beforeEach(() => {
  pump = new os.EventPump(0, 0);
  backend = new Backend();
  server = new ControlServer(pump, backend, 'service');
});
afterEach(() => pump.close());

function connect(): number {
  const [ours, theirs] = os.socketpair();
  server.accepted(theirs);
  return ours;
}

/** Serves for a moment, or until `done`. */
async function serve(done: () => boolean = () => false): Promise<void> {
  for (const end = Date.now() + 300; Date.now() < end && !done(); ) {
    for (const event of pump.drain()) server.handle(event);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function ask(fd: number, request: object): Promise<Record<string, unknown>> {
  os.sendFds(fd, text(request));
  let got: ReturnType<typeof os.recvFds> = null;
  await serve(() => {
    got = os.recvFds(fd);
    return got !== null;
  });
  const message = got as ReturnType<typeof os.recvFds>;
  assert.ok(message !== null && !message.eof, 'the connection is there');
  for (const passed of message.fds) os.close(passed);
  return JSON.parse(new TextDecoder().decode(message.bytes)) as Record<string, unknown>;
}

test('descriptors that a peer passes stay with it, also when it leaves at once', async () => {
  const before = descriptors();
  for (let round = 0; round < 4; round++) {
    const fd = connect();
    for (let i = 0; i < 8; i++) {
      try {
        os.sendFds(fd, text({ op: 'info' }), new Array<number>(8).fill(fd));
      } catch (error) {
        assert.equal((error as os.OsError).code, 'EPERM', 'refused by the kernel');
      }
    }
    os.close(fd);
  }
  await serve(() => descriptors() === before);
  assert.equal(descriptors(), before);
});

test('what the system refuses is an answer, and what was begun is undone', async () => {
  const fd = connect();
  backend.failure = os.systemError(12, 'fallocate');
  assert.equal((await ask(fd, { op: 'attach', slice: 0, epc: 0 })).code, 'CVM_RESOURCES');
  assert.deepEqual([server.guests, backend.detached.length], [0, 1]);
  assert.equal((await ask(fd, { op: 'attach', slice: 0, epc: 0 })).ok, true);
  backend.failure = os.systemError(12, 'fallocate');
  assert.equal((await ask(fd, { op: 'vcpu' })).code, 'CVM_RESOURCES');
  assert.equal((await ask(fd, { op: 'vcpu' })).ok, true);
  backend.failure = os.systemError(12, 'fallocate');
  os.close(fd);
  await serve(() => server.guests === 0);
  assert.equal(server.guests, 0);
});

test('a grant socket goes to the guest whose enclave it is', async () => {
  const [first, second] = [connect(), connect()];
  assert.equal(
    (await ask(first, { op: 'grants', secs: 0x1000 })).code,
    'CVM_REQUEST_REFUSED',
    'not attached',
  );
  for (const fd of [first, second])
    assert.equal((await ask(fd, { op: 'attach', slice: 4096, epc: 4096 })).ok, true);
  const before = descriptors();
  assert.equal((await ask(first, { op: 'grants', secs: 0x1000 })).ok, true);
  assert.equal((await ask(first, { op: 'grants', secs: 0x2000 })).code, 'CVM_REQUEST_REFUSED');
  assert.equal((await ask(second, { op: 'grants', secs: 0x1000 })).code, 'CVM_REQUEST_REFUSED');
  assert.equal(descriptors(), before);
});

test('a connection that cannot be watched is closed; a defect is not swallowed', () => {
  const [ours, theirs] = os.socketpair();
  const add = pump.add.bind(pump);
  pump.add = () => {
    throw os.systemError(28, 'epoll_ctl');
  };
  server.accepted(theirs);
  assert.equal(os.recvFds(ours)?.eof, true);
  pump.add = add;
  os.close(ours);
  backend.failure = new TypeError('a defect');
  assert.throws(() => {
    const fd = connect();
    os.sendFds(fd, text({ op: 'attach', slice: 0, epc: 0 }));
    for (const end = Date.now() + 1000; Date.now() < end; )
      for (const event of pump.drain()) server.handle(event);
  }, TypeError);
});

test('a list that is longer than a message is cut, and says so', async () => {
  const fd = connect();
  backend.enclaves = Array.from({ length: 1000 }, (_, id) => ({ id, mrenclave: 'a'.repeat(64) }));
  const reply = await ask(fd, { op: 'ps' });
  const listed = (reply.enclaves as object[]).length;
  assert.ok(listed > 500 && listed < 1000);
  assert.equal(reply.omitted, 1000 - listed);
  os.close(fd);
});

test('one guest of a shared machine cannot take every vCPU', async () => {
  const fd = connect();
  await ask(fd, { op: 'attach', slice: 0, epc: 0 });
  for (let i = 1; i < 64; i++) assert.equal((await ask(fd, { op: 'vcpu' })).ok, true);
  assert.equal((await ask(fd, { op: 'vcpu' })).code, 'CVM_RESOURCES');
  os.close(fd);
});

const event = (fields: Partial<TraceEvent> = {}): TraceEvent => ({
  kind: 'encls',
  name: 'EADD',
  owner: 1,
  operands: [4096, 8192, 0],
  result: 'ok',
  microseconds: 12.5,
  ...fields,
});

const emit = (fields: Partial<TraceEvent> = {}) => backend.sink?.(event(fields));

/** Every record that has arrived at a tracer's end. */
function records(fd: number): Record<string, unknown>[] {
  const all: Record<string, unknown>[] = [];
  for (;;) {
    const message = os.recvFds(fd);
    if (message === null || message.eof) return all;
    const body = JSON.parse(new TextDecoder().decode(message.bytes)) as Record<string, unknown>;
    if (body.op === 'trace') all.push(...(body.records as Record<string, unknown>[]));
  }
}

test('a tracer gets what happens; without one there is no hook', async () => {
  const fd = connect();
  assert.equal(backend.sink, undefined);
  assert.deepEqual(await ask(fd, { op: 'trace' }), { ok: true, pid: process.pid, all: true });
  emit();
  emit({ name: 'é"\n', operands: [2n ** 64n - 1n, 0, 0] });
  server.flushTraces('busy');
  assert.deepEqual(records(fd), [], 'few records wait until there is time');
  assert.equal(server.flushTraces('end'), false);
  const [first, second] = records(fd);
  const { at, ...rest } = first as Record<string, unknown>;
  assert.equal(typeof at, 'number');
  assert.deepEqual(rest, event());
  assert.deepEqual([second?.name, second?.operands], ['é"\n', ['0xffffffffffffffff', 0, 0]]);
  assert.equal((await ask(fd, { op: 'trace' })).code, 'CVM_REQUEST_REFUSED');
  os.close(fd);
  await serve(() => backend.sink === undefined);
  assert.equal(backend.sink, undefined);
});

test('a tracer chooses by leaf, enclave and result', async () => {
  const fd = connect();
  await ask(fd, { op: 'trace', leaves: ['EADD', 'EINIT'], failed: true, enclave: 3 });
  for (const fields of [
    { result: 'SGX_CHILD_PRESENT', enclave: 3 },
    { enclave: 3 },
    { result: '#GP(0)', enclave: 4 },
    { result: '#GP(0)' },
    { name: 'EREMOVE', result: '#GP(0)', enclave: 3 },
    { name: 'EINIT', result: 'SGX_INVALID_SIGNATURE', enclave: 3 },
  ])
    emit(fields);
  server.flushTraces('end');
  assert.deepEqual(
    records(fd).map(({ result }) => result),
    ['SGX_CHILD_PRESENT', 'SGX_INVALID_SIGNATURE'],
  );
  os.close(fd);
});

test('a tracer that does not read loses records, knows how many, and holds nobody up', async () => {
  const fd = connect();
  await ask(fd, { op: 'trace' });
  const made = 5 * TRACE_RING;
  for (let i = 0; i < made; i++) {
    emit({ operands: [i, 0, 0] });
    if (i % 512 === 0) server.flushTraces('busy');
  }
  server.flushTraces('end');
  const got: Record<string, unknown>[] = [];
  for (const end = Date.now() + 5000; Date.now() < end; ) {
    got.push(...records(fd));
    if (!server.flushTraces('end') && got.length > 0) break;
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  got.push(...records(fd));
  let next = 0;
  let lost = 0;
  for (const record of got) {
    if ('lost' in record) {
      lost += record.lost as number;
      next += record.lost as number;
    } else assert.equal((record.operands as number[])[0], next++, 'in order, with the gap where it was');
  }
  assert.ok(lost > 0 && lost < made);
  assert.equal(next, made, 'every record arrived or was counted');
  os.close(fd);
});

test('tracers are few, and one that leaves makes room', async () => {
  const fds = Array.from({ length: TRACER_LIMIT + 1 }, connect);
  for (const fd of fds.slice(1)) assert.equal((await ask(fd, { op: 'trace' })).ok, true);
  assert.equal((await ask(fds[0] as number, { op: 'trace' })).code, 'CVM_RESOURCES');
  os.close(fds[1] as number);
  await serve();
  assert.equal((await ask(fds[0] as number, { op: 'trace' })).ok, true);
  for (const fd of [fds[0], ...fds.slice(2)]) os.close(fd as number);
});

test('other accounts see their own calls only', () => {
  const uids = new Map([
    [1, 4001],
    [2, 4002],
  ]);
  const sent = new Map<number, string>();
  let sink: TraceSink | undefined;
  const tracing = new Tracing({
    uidOf: (owner) => uids.get(owner),
    trySend: (token, message) => {
      sent.set(token, new TextDecoder().decode(message));
      return true;
    },
    setSink: (given) => {
      sink = given;
    },
  });
  assert.deepEqual(tracing.subscribe(10, 4001, {}), { all: false });
  assert.deepEqual(tracing.subscribe(11, 4003, {}), { all: false });
  assert.deepEqual(tracing.subscribe(12, 0, {}), { all: true });
  sink?.(event({ owner: 1 }));
  sink?.(event({ owner: 2 }));
  sink?.(event({ owner: 3 }));
  tracing.flush('end');
  const owners = (token: number) =>
    (JSON.parse(sent.get(token) ?? '{"records":[]}').records as TraceEvent[]).map(({ owner }) => owner);
  assert.deepEqual([owners(10), owners(11), owners(12)], [[1], [], [1, 2, 3]]);
});

test('figures are given with the clock of the machine', async () => {
  const fd = connect();
  backend.enclaves = [{ id: 1, owner: 1 }];
  const reply = await ask(fd, { op: 'stats' });
  assert.equal(reply.ok, true);
  assert.equal(typeof reply.clock, 'number');
  assert.equal((reply.enclaves as object[]).length, 1);
  assert.equal((reply.machine as { calls: number }).calls, 0);
  os.close(fd);
});

test('an account that is not the machine’s sees its own enclaves, and no text of what others were refused', () => {
  const stats = new Backend().stats();
  const full = {
    ...stats,
    failures: { count: 2, recent: ['ENOSPC: somebody’s file'] },
    enclaves: [{ owner: 1 }, { owner: 2 }] as MonitorStats['enclaves'],
  };
  assert.equal(
    visible(full, true, () => false),
    full,
  );
  const seen = visible(full, false, (owner) => owner === 2);
  assert.deepEqual(seen.failures, { count: 2, recent: [] });
  assert.deepEqual(
    seen.enclaves.map(({ owner }) => owner),
    [2],
  );
  assert.deepEqual(
    visibleOf([{ owner: 1 }, { owner: 2 }], false, (owner) => owner === 1),
    [{ owner: 1 }],
  );
});

test('other accounts cannot take all places of tracers', () => {
  const tracing = new Tracing({ uidOf: () => undefined, trySend: () => true, setSink: () => {} });
  const own = process.getuid!();
  let token = 1;
  for (let i = 0; i < TRACER_LIMIT - TRACERS_RESERVED; i++) tracing.subscribe(token++, own + 1 + i, {});
  assert.throws(() => tracing.subscribe(token++, own + 100, {}), { code: 'CVM_RESOURCES' });
  for (let i = 0; i < TRACERS_RESERVED; i++)
    assert.deepEqual(tracing.subscribe(token++, own, {}), { all: true });
  assert.throws(() => tracing.subscribe(token++, own, {}), { code: 'CVM_RESOURCES' });
});
