import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeReady,
  encodeFrame,
  encodeRun,
  FRAME,
  FRAME_LIMIT,
  FrameReader,
} from '../src/agent/protocol.js';
import { AgentSession } from '../src/agent/session.js';
import { readArchive } from '../src/files-out.js';
import { chooseKernel, compareVersions, type GuestKernel } from '../src/host/kernels.js';
import { relocateHeaders } from '../src/host/packages.js';
import { streamPair } from '../src/native.js';
import { commandLine, completeOptions } from '../src/options.js';
import { qemuArguments } from '../src/qemu.js';
import { code, scratch } from './support.js';

test('frames come out as they went in, however the stream is cut', () => {
  const frame = fc.record(
    { kind: fc.nat(30), command: fc.nat(0xffff_ffff), payload: fc.uint8Array({ maxLength: 300 }) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 40 })),
      (frames, cuts) => {
        const stream = Buffer.concat(frames.map((one) => encodeFrame(one.kind, one.command, one.payload)));
        const reader = new FrameReader();
        const got = [];
        for (let at = 0, n = 0; at < stream.length; n++) {
          const length = cuts[n % cuts.length] ?? stream.length;
          got.push(...reader.push(stream.subarray(at, at + length)));
          at += length;
        }
        assert.deepEqual(
          got.map(({ kind, command, payload }) => ({ kind, command, payload: new Uint8Array(payload) })),
          frames,
        );
      },
    ),
  );
});

test('a frame beyond the limit ends the conversation', () => {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(FRAME_LIMIT + 1, 0);
  assert.throws(() => new FrameReader().push(head), code('VM_PROTOCOL'));
  assert.throws(() => decodeReady(Buffer.alloc(3)), code('VM_PROTOCOL'));
  assert.throws(() => decodeReady(Buffer.alloc(8)), code('VM_PROTOCOL'));
});

test('commands that cannot be passed are refused here', () => {
  const run = (argv: string[]) => encodeRun({ argv, env: [], cwd: '/' });
  assert.throws(() => run([]), code('VM_OPTION_INVALID'));
  assert.throws(() => run(['a\0b']), code('VM_OPTION_INVALID'));
  assert.throws(() => run(['x'.repeat(FRAME_LIMIT)]), code('VM_OPTION_INVALID'));
});

test('an archive that tar made is read', () => {
  using folder = scratch();
  mkdirSync(join(folder.path, 'top/in'), { recursive: true });
  writeFileSync(join(folder.path, 'top/in/small'), 'small', { mode: 0o600 });
  writeFileSync(join(folder.path, `top/${'n'.repeat(180)}`), Buffer.alloc(5000, 7));
  const { stdout, status } = spawnSync('tar', ['--format=gnu', '-C', folder.path, '-cf', '-', 'top']);
  assert.equal(status, 0);
  const entries = new Map([...readArchive(stdout, 'top')].map((entry) => [entry.path, entry]));
  assert.equal(entries.get('top/in/small')?.bytes?.toString(), 'small');
  assert.equal(entries.get('top/in/small')?.mode, 0o600);
  assert.equal(entries.get(`top/${'n'.repeat(180)}`)?.bytes?.length, 5000);
  assert.equal(entries.get('top/in')?.bytes, undefined);
});

test('an archive cannot reach out of its folder', () => {
  const entry = (name: string, kind = '0', size = '00000000000') => {
    const head = Buffer.alloc(1024);
    head.write(name, 0);
    head.write('0000644', 100);
    head.write(size, 124);
    head.write(kind, 156);
    return head;
  };
  for (const name of ['/top/x', 'top/../x', '../x', 'other', 'top//x', 'top/./x', ''])
    assert.throws(() => [...readArchive(entry(name), 'top')], code('VM_FILE'), name);
  assert.throws(() => [...readArchive(entry('top', '0', '77777777777'), 'top')], code('VM_FILE'));
  assert.throws(() => [...readArchive(entry('top', '0', 'zzz'), 'top')], code('VM_FILE'));
  assert.deepEqual([...readArchive(entry('top/link', '2'), 'top')], []);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => {
      try {
        for (const { path } of readArchive(Buffer.from(bytes), 'top')) assert.match(path, /^top(\/|$)/);
      } catch (error) {
        assert.ok(code('VM_FILE')(error), String(error));
      }
    }),
  );
});

test('the best kernel is chosen, or the one that is named', () => {
  const kernel = (version: string): GuestKernel => ({ version, image: '', modules: '', root: '' });
  assert.ok(compareVersions('6.1.0-9-amd64', '6.1.0-10-amd64') < 0);
  assert.equal(chooseKernel([kernel('b'), kernel('a')]).version, 'b');
  assert.equal(chooseKernel([kernel('b'), kernel('a')], 'a').version, 'a');
  assert.throws(() => chooseKernel([]), code('VM_KERNEL_MISSING'));
  assert.throws(() => chooseKernel([kernel('b')], 'a'), code('VM_KERNEL_MISSING'));
});

test('unpacked headers lead to their parts', () => {
  using folder = scratch();
  const headers = join(folder.path, 'usr/src/linux-headers-1');
  mkdirSync(headers, { recursive: true });
  writeFileSync(join(headers, 'Makefile'), 'include /usr/src/linux-headers-1-common/Makefile\n');
  relocateHeaders(folder.path, '1');
  relocateHeaders(folder.path, '1');
  const text = spawnSync('cat', [join(headers, 'Makefile')], { encoding: 'utf8' }).stdout;
  assert.equal(text, `include ${folder.path}/usr/src/linux-headers-1-common/Makefile\n`);
});

test('options have limits; the command line keeps the window from the kernel', () => {
  const MIB = 2 ** 20;
  for (const options of [
    { memoryBytes: 128 * MIB },
    { memoryBytes: 4096 * MIB },
    { memoryBytes: 512 * MIB + 4096 },
    { vcpus: 0 },
    { vcpus: 17 },
    { accel: 'xen' as 'kvm' },
    { append: ['two words'] },
    { startMs: 0 },
  ])
    assert.throws(() => completeOptions(options), code('VM_OPTION_INVALID'), JSON.stringify(options));
  const line = commandLine(completeOptions({ append: ['loglevel=7'] }), '/init');
  assert.match(line, /(^| )memmap=64M\$0x8000000( |$)/);
  assert.match(line, / rdinit=\/init loglevel=7$/);
});

test('QEMU always has room for a second processor', () => {
  const shape = { accel: 'tcg' as const, cpu: 'max', ramBytes: 2 ** 29, kernel: '/k', commandLine: '' };
  assert.ok(qemuArguments({ ...shape, vcpus: 1 }).includes('1,maxcpus=2'));
  assert.ok(qemuArguments({ ...shape, vcpus: 4 }).includes('4,maxcpus=4'));
});

test('a guest whose first process breaks the rules is given up, with all its commands', async () => {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const lies = [
    encodeFrame(FRAME.output, 77, Buffer.from('of a command that does not run')),
    encodeFrame(99, 1),
    encodeFrame(FRAME.exit, 1, Buffer.alloc(3)),
    encodeFrame(FRAME.ready, 0, Buffer.alloc(8)),
    Buffer.alloc(12, 0xff),
  ];
  for (const lie of lies) {
    const { session, guest, broken } = sessionBed();
    const command = session.run({ argv: ['true'], env: [], cwd: '/' });
    guest.write(lie);
    assert.ok(code('VM_PROTOCOL')(await broken));
    await assert.rejects(command.ended, code('VM_PROTOCOL'));
    assert.throws(() => session.run({ argv: ['true'], env: [], cwd: '/' }), code('VM_PROTOCOL'));
    guest.destroy();
  }
  const { session, guest } = sessionBed();
  const command = session.run({ argv: ['x'], env: [], cwd: '/' });
  guest.write(encodeFrame(FRAME.taken, 1, word(0xffff_ffff)));
  guest.write(encodeFrame(FRAME.failed, 1, word(0xffff_ffff)));
  await assert.rejects(command.ended, code('VM_COMMAND'));
  session.end(new Error('over'));
  guest.destroy();
});

function sessionBed() {
  const [ours, theirs] = streamPair();
  const guest = new Socket({ fd: theirs, readable: true, writable: true });
  let tell: (error: Error) => void = () => undefined;
  const broken = new Promise<Error>((resolve) => {
    tell = resolve;
  });
  const session = new AgentSession(new Socket({ fd: ours, readable: true, writable: true }), tell);
  guest.on('error', () => undefined);
  return { session, guest, broken };
}
