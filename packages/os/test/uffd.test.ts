import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, finish, startNode } from './support.js';

const PAGE = 4096;
const support = os.uffdSupported();

test('mappings of another process are made, protected and taken away from here', {
  skip: !support.supported,
}, () => {
  const fd = os.memfdCreate('pages', { size: 16 * PAGE, seal: true });
  const [a, b] = os.socketpair();
  const child = startNode(
    `const map = os.mmap({ fd: 4, length: ${16 * PAGE}, prot: 'rw' });
     const u = os.uffdCreate();
     os.uffdRegister(u, map.address, map.length);
     os.sendFds(3, new TextEncoder().encode(String(map.address)), [u]);
     const into = new Uint8Array(1);
     for (;;) {
       const m = os.recvFds(3, 16, 0, 10000);
       if (!m || m.eof) process.exit(0);
       const [op, page] = m.bytes;
       const at = map.address + page * ${PAGE};
       const ok = op === 0 ? os.guardedCopy(into, at, 1) : os.guardedCopy(at, Uint8Array.of(op), 1);
       os.sendFds(3, Uint8Array.of(ok ? 1 : 0, into[0]));
     }`,
    [
      [3, b],
      [4, fd],
    ],
  );
  os.close(b);
  const hello = os.recvFds(a, 64, 1, 10_000)!;
  const uffd = hello.fds[0]!;
  const base = Number(Buffer.from(hello.bytes).toString());
  const ask = (op: number, page: number) => {
    os.sendFds(a, Uint8Array.of(op, page));
    const [ok, value] = os.recvFds(a, 16, 0, 10_000)!.bytes;
    return ok ? value! : 'fault';
  };
  const content = new Uint8Array(16 * PAGE).fill(5);
  os.pwrite(fd, content, 0);
  assert.equal(ask(0, 0), 'fault', 'in the file, not mapped');
  assert.equal(os.uffdContinue(uffd, base, 4 * PAGE), 4);
  assert.equal(ask(0, 0), 5);
  assert.equal(ask(0, 4), 'fault');
  assert.equal(os.uffdContinue(uffd, base, 16 * PAGE), 12, 'pages mapped before are passed over');
  assert.equal(ask(0, 15), 5);
  os.uffdWriteProtect(uffd, base, PAGE, true);
  assert.equal(ask(7, 0), 'fault');
  assert.equal(ask(0, 0), 5);
  os.uffdWriteProtect(uffd, base, PAGE, false);
  assert.notEqual(ask(7, 0), 'fault');
  assert.equal(ask(0, 0), 7);
  os.punchHole(fd, PAGE, PAGE);
  assert.equal(ask(0, 1), 'fault', 'a punched page is gone there, too');
  assert.throws(() => os.uffdContinue(uffd, base + PAGE, PAGE), code('EFAULT'));
  os.pwrite(fd, content.subarray(0, PAGE), PAGE);
  assert.equal(os.uffdContinue(uffd, base + PAGE, PAGE, { writeProtect: true }), 1);
  assert.equal(ask(0, 1), 5);
  assert.equal(ask(7, 1), 'fault', 'mapped without W');
  os.uffdWake(uffd, base, PAGE);
  assert.throws(() => os.uffdContinue(uffd, base + 64 * PAGE, PAGE), code('ENOENT'));
  os.close(a);
  assert.equal(finish(child).code, 0);
  assert.throws(() => os.uffdContinue(uffd, base, PAGE), code('ESRCH'));
  os.close(uffd);
  os.close(fd);
});
