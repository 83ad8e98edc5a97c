import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, openDescriptors } from './support.js';

const bytes = (s: string) => new TextEncoder().encode(s);

test('messages keep their bounds and carry descriptors, close-on-exec', () => {
  const [a, b] = os.socketpair();
  const fd = os.memfdCreate('passed', { size: 4096 });
  os.pwrite(fd, Uint8Array.of(42), 0);
  assert.equal(os.recvFds(b), null);
  os.sendFds(a, bytes('one'), [fd, fd]);
  os.sendFds(a, bytes('two'));
  const one = os.recvFds(b)!;
  assert.equal(Buffer.from(one.bytes).toString(), 'one');
  assert.equal(one.fds.length, 2);
  const back = new Uint8Array(1);
  os.pread(one.fds[1]!, back, 0);
  assert.equal(back[0], 42);
  assert.ok(one.fds.every((f) => os.isCloseOnExec(f)));
  assert.equal(Buffer.from(os.recvFds(b)!.bytes).toString(), 'two');
  os.close(a);
  assert.deepEqual(os.recvFds(b), { bytes: new Uint8Array(0), fds: [], eof: true });
  assert.throws(() => os.sendFds(b, bytes('x')), code('EPIPE'));
  for (const f of [...one.fds, fd, b]) os.close(f);
});

test('too large messages and too many descriptors are dropped whole, their descriptors closed', () => {
  const [a, b] = os.socketpair();
  const before = openDescriptors();
  os.sendFds(a, new Uint8Array(100), [a]);
  assert.throws(() => os.recvFds(b, 99), code('MESSAGE_TRUNCATED'));
  os.sendFds(a, new Uint8Array(100), [a, a, a]);
  assert.throws(() => os.recvFds(b, 100, 2), code('MESSAGE_TRUNCATED'));
  assert.equal(openDescriptors(), before);
  assert.throws(() => os.sendFds(a, new Uint8Array(0)), code('ARGUMENT_INVALID'));
  assert.throws(() => os.sendFds(a, new Uint8Array(65537)), code('ARGUMENT_INVALID'));
  assert.throws(() => os.sendFds(a, new Uint8Array(1), Array(9).fill(a)), code('ARGUMENT_INVALID'));
  os.close(a);
  os.close(b);
});

test('a peer that does not read costs a bounded wait', () => {
  const [a, b] = os.socketpair();
  assert.throws(() => {
    for (;;) os.sendFds(a, new Uint8Array(60_000), [], 20);
  }, code('EAGAIN'));
  assert.equal(os.recvFds(a, 10, 0, 10), null);
  os.close(a);
  os.close(b);
});

test('unix sockets: mode, credentials, left-over files, somebody listening', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-os-'));
  const path = join(dir, 's');
  const before = openDescriptors();
  const listener = os.listenUnix(path, 0o660);
  assert.equal(statSync(path).mode & 0o777, 0o660);
  assert.equal(os.acceptUnix(listener), null);
  const client = os.connectUnix(path);
  const server = os.acceptUnix(listener)!;
  assert.equal(os.peerCredentials(server).pid, process.pid);
  assert.equal(os.peerCredentials(server).uid, process.getuid!());
  const pidfd = os.peerPidfd(server);
  if (pidfd !== null) {
    os.pidfdSignal(pidfd, 0);
    os.close(pidfd);
  }
  assert.deepEqual(
    os.pollFds(
      [
        { fd: server, events: os.POLLIN },
        { fd: client, events: os.POLLOUT },
      ],
      0,
    ),
    [0, os.POLLOUT],
  );
  os.close(client);
  assert.equal(
    os.pollFds([{ fd: server, events: os.POLLIN | os.POLLRDHUP }], 1000)[0]! & os.POLLIN,
    os.POLLIN,
  );
  assert.throws(() => os.listenUnix(path), code('EADDRINUSE'));
  const probe = os.acceptUnix(listener)!;
  os.close(probe);
  os.close(listener);
  assert.ok(existsSync(path));
  assert.throws(() => os.connectUnix(path), code('ECONNREFUSED'));
  const again = os.listenUnix(path);
  os.close(again);
  os.close(server);
  assert.throws(() => os.connectUnix(join(dir, 'none')), code('ENOENT'));
  assert.throws(() => os.listenUnix(join(dir, 'x'.repeat(120))), code('ENAMETOOLONG'));
  assert.equal(openDescriptors(), before);
  rmSync(dir, { recursive: true });
});

test('a thousand messages with descriptors leave none behind', () => {
  const [a, b] = os.socketpair();
  const before = openDescriptors();
  for (let i = 0; i < 1000; i++) {
    os.sendFds(a, Uint8Array.of(1), [a, b]);
    for (const fd of os.recvFds(b)!.fds) os.close(fd);
    const [r, w] = os.pipe();
    os.close(os.dup(r));
    os.close(r);
    os.close(w);
    os.close(os.eventfd());
  }
  assert.equal(openDescriptors(), before);
  os.close(a);
  os.close(b);
});
