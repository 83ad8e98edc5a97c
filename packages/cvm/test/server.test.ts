/** The control socket against peers that do not mean well. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import * as os from '@nestedsgx/os';
import { Resources } from '../src/control/resources.js';
import { type ControlBackend, ControlServer } from '../src/control/server.js';

const descriptors = () => readdirSync('/proc/self/fd').length;
const text = (value: object) => new TextEncoder().encode(JSON.stringify(value));

class Backend implements ControlBackend {
  readonly resources = new Resources(2 ** 30, 2 ** 30, 'service');
  readonly isolation = 'same-user';
  readonly ram = { base: 0, size: 0, doorbell: 0, fd: 0 };
  readonly selfPidfd = 0;
  attached: number[] = [];
  detached: number[] = [];
  enclaves: object[] = [];
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
  processes(): object[] {
    return this.enclaves;
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
