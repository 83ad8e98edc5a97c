/** Programs that run natively and in an enclave, and must say the same. Linux is the oracle. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, folder, native } from './programs.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

async function same(
  program: string,
  args: (dir: string) => string[],
  env: Record<string, string> = {},
  input = '',
) {
  const here = mkdtempSync(join(folder, 'native-'));
  const expected = native(program, args(here), env, input);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const found = await machine.run(
    buildProgramImage({ program }),
    [program, ...args('/dev/shm')],
    variables,
    input,
  );
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, expected.status);
  return found;
}

test('files: open, read, write, seek, truncate, dup', async () => {
  await same(compile('files'), (dir) => [dir]);
});

test('names: folders, links, rename, attributes', async () => {
  await same(compile('names'), (dir) => [dir]);
});

test('locks: ranges of processes and of open files, flock, waiting, circles', async () => {
  await same(compile('locks', '-pthread'), (dir) => [`${dir}/locked`]);
});

test('inotify, files without names, extended attributes, holes', async () => {
  await same(compile('notify'), (dir) => [dir]);
});

test('protections: what faults and how, write barriers, guards, copies, processes', async () => {
  await same(compile('protection', '-pthread'), (dir) => [dir]);
});

test('memory: mmap, mremap, mprotect, brk, malloc', async () => {
  await same(compile('memory'), (dir) => [dir]);
});

test('files whose parts are mapped while they grow', async () => {
  await same(compile('mapped'), (dir) => [dir, 'make']);
});

test('pipes, poll, select, eventfd', async () => {
  await same(compile('pipes'), () => []);
});

test('events: epoll, timerfd, signalfd, copy_file_range', async () => {
  await same(compile('events'), (dir) => [dir]);
});

test('signals: handlers, masks, faults, alternate stacks, SIGPIPE', async () => {
  const found = await same(compile('signals'), () => []);
  assert.equal(found.status, 128 + 13);
});

test('process: arguments, environment, clocks, thread-local storage, abort', async () => {
  const found = await same(compile('process'), () => ['an argument'], { PROBE: 'value' });
  assert.equal(found.status, 134);
});

test('libraries that are opened at run time', async () => {
  const program = compile('plugin');
  const library = compile('plugin', '-DLIBRARY', '-shared', '-fPIC');
  const expected = native(program, [library]);
  assert.equal(expected.status, 0);
  const found = await machine.run(buildProgramImage({ program, copy: [library] }), [program, library]);
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, 0);
});

test('what programs look up in /proc, /sys and /dev', async () => {
  await same(compile('proc'), (dir) => [`${dir}/file`]);
});

test('static position-independent programs', async () => {
  await same(compile('files', '-static-pie'), (dir) => [dir]);
  await same(compile('process', '-static-pie'), () => ['x'], { PROBE: 'static' });
});

test('threads: mutexes, conditions, joins, pipes between them, waits with an end', async () => {
  await same(compile('threads', '-pthread'), () => []);
});

test('children: vfork, wait, waitid, SIGCHLD', async () => {
  await same(compile('vfork'), () => []);
});

test('signals for threads that compute: interval timers, pthread_kill, exit while others spin', async () => {
  const found = await same(compile('interrupts', '-pthread'), () => []);
  assert.equal(found.status, 5);
});

test('time of the processor, CPUs, yielding', async () => {
  await same(compile('cpu-time', '-pthread'), () => []);
});

test('semaphores and messages of System V, queues of POSIX, descriptors of processes, waits for several words', async () => {
  await same(compile('ipc', '-pthread'), () => []);
});

test('registers and what lies below the stack pointer outlive a storm of signals', async () => {
  await same(compile('storm', '-pthread', '-mavx'), () => []);
});

test('timers that start threads, and timers of threads that end', async () => {
  await same(compile('timer-threads', '-pthread'), () => []);
});

test('what signals carry: values, queues, timers, faults, alternate stacks', async () => {
  await same(compile('siginfo', '-pthread'), () => []);
});

test('programs that programs start: posix_spawn, descriptors, environment, exec', async () => {
  const program = compile('spawn');
  const expected = native(program, []);
  const found = await machine.run(buildProgramImage({ program }), [program]);
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, 42);
  // What the C library of the second program calls jumps too.
  assert.ok(found.traps < 12, `${found.traps} traps`);
});

test('system calls that are rewritten, and those that trap', async () => {
  const found = await same(compile('trapping'), () => []);
  assert.ok(found.traps >= 3, `${found.traps} traps`);
});

test('a root that the host changes is refused', async () => {
  const program = compile('process');
  const image = buildProgramImage({ program });
  const root = image.root.map((part) => Uint8Array.from(part, (byte, i) => (i === 100 ? byte ^ 1 : byte)));
  const found = await machine.run({ ...image, root }, [program]);
  assert.equal(found.status, 127);
  assert.match(found.notes.join(), /not the one that was measured/);
  assert.equal(found.stdout, '');
});

test('programs of a fixed address, where the library OS makes room', async () => {
  await same(compile('process', '-no-pie', '-static'), () => ['x'], { PROBE: 'fixed' });
  await same(compile('files', '-no-pie'), (dir) => [dir]);
});

test('code that programs write, where the image lets them', async () => {
  const program = compile('jit');
  const allowed = await machine.run(buildProgramImage({ program, jit: true }), [program]);
  assert.equal(allowed.stdout, native(program, []).stdout);
  const refused = await machine.run(buildProgramImage({ program }), [program]);
  assert.equal(refused.stdout, 'mprotect -1 13\n');
});

test('addresses that cannot be had, scripts and missing files are refused with what to do', () => {
  const low = compile('process', '-no-pie', '-static', '-Wl,-Ttext-segment=0x20000');
  assert.throws(() => buildProgramImage({ program: low }), { code: 'PROGRAM_FIXED_ADDRESS' });
  const script = join(folder, 'script');
  writeFileSync(script, '#!/bin/sh\n');
  assert.throws(() => buildProgramImage({ program: script }), { code: 'PROGRAM_MALFORMED' });
  assert.throws(() => buildProgramImage({ program: join(folder, 'missing') }), { code: 'PROGRAM_MISSING' });
});

test('the measurement names the program and every file of its root', () => {
  const program = compile('files');
  mkdirSync(join(folder, 'data'), { recursive: true });
  const file = join(folder, 'data', 'file');
  writeFileSync(file, 'one');
  const manifests = ['one', 'two'].map((text) => {
    writeFileSync(file, text);
    const runs = [...buildProgramImage({ program, copy: [file] }).image.pages()];
    return runs.filter((run) => run.measured).map(({ data }) => Buffer.from(data).toString('latin1'));
  });
  assert.notDeepEqual(manifests[0], manifests[1]);
});
