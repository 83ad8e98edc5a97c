import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, openDescriptors, until } from './support.js';

async function next(pump: os.EventPump, count = 1): Promise<os.PumpEvent[]> {
  const events: os.PumpEvent[] = [];
  assert.ok(await until(() => events.push(...pump.drain()) >= count), `${events.length} of ${count} events`);
  return events;
}

test('connections, messages with descriptors, and ends arrive in order', async () => {
  const before = openDescriptors();
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-os-'));
  const listener = os.listenUnix(join(dir, 's'));
  const pump = new os.EventPump(0, 0);
  assert.deepEqual(pump.drain(), []);
  pump.add(listener, 1, 'listen');
  assert.throws(() => pump.add(listener, 1, 'listen'), code('EEXIST'));
  assert.throws(() => pump.add(9999, 2, 'seqpacket'), code('EBADF'));
  const client = os.connectUnix(join(dir, 's'));
  const [accepted] = await next(pump);
  assert.equal(accepted!.type, 'accepted');
  const server = accepted!.fds[0]!;
  pump.add(server, 2, 'seqpacket');
  os.sendFds(client, Uint8Array.of(1, 2, 3), [client]);
  os.sendFds(client, new Uint8Array(65536).fill(9));
  const messages = await next(pump, 2);
  assert.deepEqual(
    messages.map((m) => [m.token, m.type, m.bytes.length, m.fds.length]),
    [
      [2, 'message', 3, 1],
      [2, 'message', 65536, 0],
    ],
  );
  assert.deepEqual([...messages[0]!.bytes], [1, 2, 3]);
  assert.ok(messages[1]!.bytes.every((b) => b === 9));
  assert.ok(os.isCloseOnExec(messages[0]!.fds[0]!));
  os.close(messages[0]!.fds[0]!);
  os.close(client);
  const [eof] = await next(pump);
  assert.deepEqual([eof!.type, eof!.reason], ['eof', 'closed']);
  assert.equal(pump.remove(2), true);
  assert.equal(pump.remove(2), false);
  pump.remove(1);
  os.close(server);
  os.close(listener);
  pump.close();
  pump.close();
  assert.throws(() => pump.add(0, 1, 'listen'), code('ARGUMENT_INVALID'));
  rmSync(dir, { recursive: true });
  assert.equal(openDescriptors(), before);
});

test('a message that rings finds a sleeping main thread', () => {
  const words = os.mmap({ length: 4096, prot: 'rw', shared: true });
  const pump = new os.EventPump(words.address, words.address + 64);
  const [a, b] = os.socketpair();
  pump.add(b, 1, 'seqpacket');
  for (let i = 0; i < 200; i++) {
    os.sendFds(a, Uint8Array.of(i));
    for (const end = Date.now() + 5000; ; ) {
      const seen = Atomics.load(new Int32Array(words.bytes.buffer), 0);
      const events = pump.drain();
      if (events.length > 0) {
        assert.equal(events[0]!.bytes[0], i);
        break;
      }
      os.spinThenWait(words.address, seen, i % 2 ? 2000 : 0, 50_000, words.address + 64);
      assert.ok(Date.now() < end);
    }
  }
  pump.close();
  words.unmap();
  os.close(a);
  os.close(b);
});

test('a hostile peer ends its own connection only', async () => {
  const pump = new os.EventPump(0, 0);
  const [a, b] = os.socketpair();
  const [c, d] = os.socketpair();
  pump.add(b, 1, 'seqpacket');
  pump.add(d, 2, 'seqpacket');
  const before = openDescriptors();
  const big = os
    .loadLibrary(os.packageLibraryPath())
    .func('int64_t nsgx_send(int32_t, void*, uint64_t, void*, uint32_t, uint32_t)');
  assert.equal(big(a, new Uint8Array(65537), 65537, Int32Array.of(a), 1, 0), 65537);
  const [eof] = await next(pump);
  assert.deepEqual([eof!.token, eof!.type, eof!.reason], [1, 'eof', 'truncated']);
  assert.equal(openDescriptors(), before, 'the descriptors of the rejected message are closed');
  os.sendFds(a, Uint8Array.of(1));
  os.sendFds(c, Uint8Array.of(2));
  const [message] = await next(pump);
  assert.equal(message!.token, 2);
  assert.deepEqual(pump.drain(), []);
  pump.close();
  for (const fd of [a, b, c, d]) os.close(fd);
});

test('a peer that floods stops being read, without keeping others from being served', async () => {
  const pump = new os.EventPump(0, 0);
  const [a, b] = os.socketpair();
  const [c, d] = os.socketpair();
  pump.add(b, 1, 'seqpacket');
  pump.add(d, 2, 'seqpacket');
  let sent = 0;
  assert.throws(() => {
    for (;;) {
      os.sendFds(a, Uint8Array.of(sent & 255), [], 30);
      sent++;
    }
  }, code('EAGAIN'));
  os.sendFds(c, Uint8Array.of(77));
  const first: os.PumpEvent[] = [];
  await until(() => first.push(...pump.drain()) > 8);
  assert.ok(first.length <= 24, `${first.length} events queued for a flood of ${sent}`);
  const all = [...first];
  assert.ok(await until(() => all.push(...pump.drain()) === sent + 1), `${all.length} of ${sent + 1}`);
  assert.deepEqual(
    all.filter((e) => e.token === 1).map((e) => e.bytes[0]),
    Array.from({ length: sent }, (_, i) => i & 255),
  );
  assert.ok(all.findIndex((e) => e.token === 2) < 40);
  pump.close();
  for (const fd of [a, b, c, d]) os.close(fd);
});

test('a source of bytes takes no descriptor, and a peer that passes one is cut off', async () => {
  const pump = new os.EventPump(0, 0);
  const [a, b] = os.socketpair();
  const before = openDescriptors();
  pump.add(b, 1, 'bytes');
  os.sendFds(a, Uint8Array.of(1, 2));
  const [message] = await next(pump);
  assert.deepEqual([message!.type, ...message!.bytes], ['message', 1, 2]);
  os.sendFds(a, Uint8Array.of(3), [a, a]);
  const [eof] = await next(pump);
  assert.deepEqual([eof!.type, eof!.reason, eof!.fds.length], ['eof', 'truncated', 0]);
  assert.equal(openDescriptors(), before);
  pump.close();
  os.close(a);
  os.close(b);
});

test('a socket that refuses descriptors hands that on to the connections it accepts', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-os-'));
  const listener = os.listenUnix(join(dir, 's'));
  const refuses = os.refuseDescriptors(listener);
  const client = os.connectUnix(join(dir, 's'));
  const server = os.acceptUnix(listener)!;
  if (refuses) assert.throws(() => os.sendFds(client, Uint8Array.of(1), [client]), code('EPERM'));
  os.sendFds(client, Uint8Array.of(2));
  assert.deepEqual([...os.recvFds(server)!.bytes], [2]);
  os.sendFds(server, Uint8Array.of(3), [client]);
  const back = os.recvFds(client)!;
  assert.equal(back.fds.length, 1, 'the other way is open');
  for (const fd of [...back.fds, client, server, listener]) os.close(fd);
  rmSync(dir, { recursive: true });
});

test('queued descriptors are closed when a source or the pump goes', async () => {
  const pump = new os.EventPump(0, 0);
  const [a, b] = os.socketpair();
  const [c, d] = os.socketpair();
  const before = openDescriptors();
  pump.add(b, 1, 'seqpacket');
  pump.add(d, 2, 'seqpacket');
  for (let i = 0; i < 3; i++) {
    os.sendFds(a, Uint8Array.of(1), [a, a]);
    os.sendFds(c, Uint8Array.of(1), [a, a]);
  }
  assert.ok(await until(() => openDescriptors() === before + 12));
  pump.remove(1);
  assert.equal(openDescriptors(), before + 6);
  pump.close();
  for (const fd of [a, b, c, d]) os.close(fd);
});

test('a pump tells how processes ended, and reaps its own', async () => {
  const pump = new os.EventPump(0, 0);
  const killed = os.spawn({ executable: '/bin/sleep', argv: ['sleep', '100'], env: [] });
  const ended = os.spawn({ executable: '/bin/sh', argv: ['sh', '-c', 'exit 3'], env: [] });
  pump.add(killed.pidfd, killed.pid, 'pidfd');
  pump.add(ended.pidfd, ended.pid, 'pidfd');
  const [first] = await next(pump);
  assert.deepEqual([first!.token, first!.type, first!.status], [ended.pid, 'exited', { code: 3 }]);
  os.pidfdSignal(killed.pidfd, 'SIGKILL');
  const [second] = await next(pump);
  assert.deepEqual([second!.token, second!.type, second!.status], [killed.pid, 'exited', { signal: 9 }]);
  assert.throws(() => os.waitPid(killed.pid, false), code('ECHILD'));
  pump.close();
  os.close(killed.pidfd);
  os.close(ended.pidfd);
});

test('a thousand connections come and go', async () => {
  const before = openDescriptors();
  const pump = new os.EventPump(0, 0);
  for (let i = 0; i < 1000; i++) {
    const [a, b] = os.socketpair();
    pump.add(b, i, 'seqpacket');
    os.sendFds(a, Uint8Array.of(1));
    if (i % 10 === 0) assert.equal((await next(pump))[0]!.token, i);
    os.close(a);
    pump.remove(i);
    os.close(b);
  }
  pump.close();
  assert.equal(openDescriptors(), before);
});
