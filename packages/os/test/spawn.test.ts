import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, finish, openDescriptors, shell, startNode, until } from './support.js';

test('a child has exactly the descriptors, environment and arguments that it was given', () => {
  const fd = os.memfdCreate('given', { size: 4096 });
  const leak = os.dup(fd);
  os.setCloseOnExec(leak, false);
  const { out, status } = shell('', {
    argv: ['sh', '-c', 'echo "$0 $1"; env; ls -1 /proc/$$/fd', 'zero', 'a b'],
    env: ['A=1', 'PATH=/usr/bin:/bin'],
    fds: [[9, fd]],
  });
  const lines = out.trim().split('\n');
  assert.equal(lines[0], 'zero a b');
  assert.ok(lines.includes('A=1'));
  assert.deepEqual(lines.filter((l) => /^\d+$/.test(l)).sort(), ['0', '1', '2', '9']);
  assert.equal(status.code, 0);
  os.close(fd);
  os.close(leak);
});

test('descriptors can change places', () => {
  const [ra, wa] = os.pipe();
  const [rb, wb] = os.pipe();
  const child = os.spawn({
    executable: '/bin/sh',
    argv: ['sh', '-c', `echo A >/proc/self/fd/${wb}; echo B >/proc/self/fd/${wa}`],
    env: [],
    fds: [
      [wb, wa],
      [wa, wb],
    ],
  });
  assert.equal(finish(child).code, 0);
  const buffer = new Uint8Array(8);
  os.read(ra, buffer);
  assert.equal(buffer[0], 'A'.charCodeAt(0));
  os.read(rb, buffer);
  assert.equal(buffer[0], 'B'.charCodeAt(0));
  for (const fd of [ra, wa, rb, wb]) os.close(fd);
});

test('failures before the program starts are reported with their step, and leave nothing', () => {
  const before = openDescriptors();
  const base = { argv: ['x'], env: [] };
  const text = os.memfdCreate('no program', { size: 100, exec: true });
  const fails = (options: os.SpawnOptions, errno: string, syscall: string) =>
    assert.throws(
      () => os.spawn(options),
      (e: unknown) => {
        assert.ok(e instanceof os.OsError, String(e));
        assert.deepEqual([e.code, e.syscall], [errno, syscall]);
        return true;
      },
    );
  fails({ ...base, executable: '/does/not/exist' }, 'ENOENT', 'execve');
  fails({ ...base, executable: '/etc/passwd' }, 'EACCES', 'execve');
  fails({ ...base, executable: { fd: text } }, 'ENOEXEC', 'execve');
  fails({ ...base, executable: { fd: 999 } }, 'EBADF', 'dup2');
  fails({ ...base, executable: '/bin/true', fds: [[5, 998]] }, 'EBADF', 'dup2');
  fails({ ...base, executable: '/bin/true', cwd: '/does/not/exist' }, 'ENOENT', 'chdir');
  assert.throws(
    () =>
      os.spawn({
        ...base,
        executable: '/bin/true',
        fds: [
          [5, 1],
          [5, 2],
        ],
      }),
    code('ARGUMENT_INVALID'),
  );
  assert.throws(
    () => os.spawn({ ...base, executable: '/bin/true', argv: ['a\0b'] }),
    code('ARGUMENT_INVALID'),
  );
  assert.throws(() => os.spawn({ ...base, executable: '/bin/true', uid: 5 }), code('ARGUMENT_INVALID'));
  os.close(text);
  assert.equal(openDescriptors(), before);
  assert.throws(() => os.waitPid(process.pid, false), code('ECHILD'));
});

test('exit status and signals', () => {
  assert.deepEqual(shell('exit 7').status.code, 7);
  const child = os.spawn({ executable: '/bin/sleep', argv: ['sleep', '100'], env: [] });
  assert.equal(os.waitPid(child.pid), null);
  assert.equal(os.waitPidfd(child.pidfd), null);
  os.pidfdSignal(child.pidfd, 'SIGTERM');
  assert.deepEqual(os.waitPidfd(child.pidfd, false), { pid: child.pid, signal: 15 });
  assert.throws(() => os.pidfdSignal(child.pidfd, 0), code('ESRCH'));
  assert.equal(os.waitPid(child.pid), null);
  os.close(child.pidfd);
  assert.throws(() => os.pidfdOpen(child.pid), code('ESRCH'));
});

test('a child starts with default signal handling and an empty mask', () => {
  process.on('SIGUSR2', () => {});
  const child = startNode('process.exit(0)');
  finish(child);
  const { out } = shell('exec grep -E "SigBlk|SigIgn" /proc/self/status');
  assert.match(out, /SigBlk:\s*0+\n/);
  assert.match(out, /SigIgn:\s*0+\n/);
  process.removeAllListeners('SIGUSR2');
});

test('a child dies with its parent', async () => {
  const [a, b] = os.socketpair();
  const parent = startNode(
    `const c = os.spawn({ executable: '/bin/sleep', argv: ['sleep', '100'], env: [], deathSignal: 'SIGKILL' });
     os.sendFds(3, new TextEncoder().encode(String(c.pid)), [c.pidfd]);
     setInterval(() => {}, 1000);`,
    [[3, b]],
  );
  const message = os.recvFds(a, 100, 1, 10_000)!;
  const orphan = message.fds[0]!;
  os.pidfdSignal(orphan, 0);
  os.pidfdSignal(parent.pidfd, 'SIGKILL');
  finish(parent);
  assert.equal(os.pollFds([{ fd: orphan, events: os.POLLIN }], 5000)[0], os.POLLIN);
  for (const fd of [orphan, a, b]) os.close(fd);
});

test('without the right to: no ids, capabilities, privileges left', { skip: process.getuid!() !== 0 }, () => {
  const { out } = shell('id -u; id -g; id -G; grep -E "Cap|NoNew" /proc/self/status; ulimit -c', {
    uid: 65534,
    gid: 65534,
    dropCapabilities: true,
    noNewPrivileges: true,
    noCore: true,
    newSession: true,
    deathSignal: 'SIGKILL',
  });
  const lines = out.trim().split('\n');
  assert.deepEqual(lines.slice(0, 3), ['65534', '65534', '65534']);
  assert.equal(lines.filter((l) => /^Cap\w+:\t0{16}$/.test(l)).length, 5);
  assert.match(out, /NoNewPrivs:\t1/);
  assert.equal(lines.at(-1), '0');
});

test('a program sealed in memory with mode 0111 runs, and nobody of its user may look into it', () => {
  const ids = process.getuid!() === 0 ? { uid: 65534, gid: 65534, dropCapabilities: true } : {};
  const scope = '/proc/sys/kernel/yama/ptrace_scope';
  const restricted = existsSync(scope) && readFileSync(scope, 'latin1').trim() !== '0';
  for (const mode of [0o111, 0o555]) {
    const fd = os.sealedExecutable('sleep', readFileSync('/bin/sleep'), mode);
    assert.throws(() => os.pwrite(fd, Uint8Array.of(0), 0), code('EPERM'));
    const options = { argv: ['sleep', '100'], env: [], deathSignal: 'SIGKILL' as const, ...ids };
    const child = os.spawn({ executable: { fd }, ...options });
    const neighbour = startNode(
      `const into = new Uint8Array(8);
       const tries = [() => os.ptraceAttach(${child.pid}), () => os.open('/proc/${child.pid}/mem', 0),
         () => os.pidfdGetFd(os.pidfdOpen(${child.pid}), 0), () => os.processVmRead(${child.pid}, 0x400000, into)];
       const seen = tries.map((t) => { try { t(); return 'done'; } catch (e) { return e.code; } });
       process.exit(seen.filter((s) => s === 'EPERM' || s === 'EACCES').length);`,
      [],
      ids,
    );
    const refused = finish(neighbour).code;
    if (mode === 0o111) assert.equal(refused, 4);
    else if (!restricted) assert.equal(refused, 0, 'the control shows that the attempts are real');
    os.pidfdSignal(child.pidfd, 'SIGKILL');
    assert.equal(finish(child).signal, 9);
    os.close(fd);
  }
});

test('limits and process attributes', () => {
  const { soft, hard } = os.getRlimit('NOFILE');
  assert.ok(soft > 0 && hard >= soft);
  const core = os.getRlimit('CORE');
  os.setRlimit('CORE', 0, core.hard);
  assert.equal(os.getRlimit('CORE').soft, 0);
  assert.throws(() => os.setRlimit('CORE', 2, 1), code('EINVAL'));
  const was = os.isDumpable();
  os.setDumpable(false);
  assert.equal(os.isDumpable(), false);
  os.setDumpable(was);
});

test('two hundred children leave no process and no descriptor behind', async () => {
  const before = openDescriptors();
  for (let i = 0; i < 200; i++) {
    finish(os.spawn({ executable: '/bin/true', argv: ['true'], env: [], deathSignal: 9 }));
    assert.throws(() => os.spawn({ executable: '/none', argv: ['x'], env: [] }), code('ENOENT'));
  }
  assert.ok(await until(() => openDescriptors() === before, 100));
});
