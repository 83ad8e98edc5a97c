/** Protected files: the OCALLs of both generations on real files, played as the trusted library plays them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import { GuestMemory } from '@nestedsgx/guest';
import { builtinOcalls } from '../src/urts/ocalls/builtin-ocalls.js';

const { EACCES, EAGAIN, EINVAL, EISDIR, ELOOP, EMFILE, ENODEV, ENOENT, ENOMEM, ENOTSUP } = constants.errno;
const NODE = 4096;
const FLAG = 93;
const base = realpathSync(mkdtempSync(join(tmpdir(), 'nsgx-files-')));
after(() => rmSync(base, { recursive: true, force: true }));

interface Opened {
  value: bigint;
  out: { file_size: bigint; error_code: number };
}
// biome-ignore lint/suspicious/noExplicitAny: handlers are called as the marshaller calls them
type Handlers = Record<string, (...args: any[]) => any>;

let count = 0;
/** An enclave with a folder of its own, unless one is given. */
function enclave(folder = join(base, `e${count++}`), ram = 4 * 2 ** 20) {
  mkdirSync(folder, { recursive: true });
  const end = new AbortController();
  const memory = new GuestMemory({ base: 2 ** 44, slice: new Uint8Array(ram), gpa: 4096, length: ram });
  const all = builtinOcalls({ startThread: async () => 0n, memory, files: folder, ended: end.signal });
  const u = Object.fromEntries(
    Object.entries(all).map(([name, handler]) => [name.replace('u_sgxprotectedfs_', ''), handler]),
  ) as Handlers;
  const map = (name: string, readOnly = 0) => u.exclusive_file_map(name, readOnly) as Opened;
  const view = (address: bigint, length: number) => memory.viewAt(Number(address), length);
  const path = (name: string) => join(folder, name);
  return { folder, end, memory, u, map, view, path };
}
type Enclave = ReturnType<typeof enclave>;
const node = (fill: number) => new Uint8Array(NODE).fill(fill);
const head = (key: number, flag = 0) => {
  const bytes = node(key);
  bytes[FLAG] = flag;
  return bytes;
};
const contents = (e: Enclave, name: string) => readFileSync(e.path(name));

/** A file of `fills.length` nodes, the first being the metadata. */
function make(e: Enclave, name: string, fills: readonly number[]) {
  writeFileSync(e.path(name), Buffer.concat(fills.map((fill, i) => (i === 0 ? head(fill) : node(fill)))));
}
const fills = (e: Enclave, name: string) =>
  Array.from({ length: contents(e, name).length / NODE }, (_, i) => contents(e, name)[i * NODE]);

test('a new file: size 0 is told, one node is there, it grows and moves, and closing writes it', () => {
  const e = enclave();
  assert.equal(e.u.check_if_file_exists('a.dat'), 0);
  const { value: first, out } = e.map('a.dat');
  assert.deepEqual(out, { file_size: 0n, error_code: 0 });
  assert.ok(first !== 0n && first % 4096n === 0n);
  assert.deepEqual(Buffer.from(e.view(first, NODE)), Buffer.alloc(NODE));
  assert.equal(contents(e, 'a.dat').length, NODE);
  const grown = e.u.file_remap('a.dat', first, 4096n, 4n * 4096n);
  assert.equal(grown.value, 0);
  const at = grown.out.file_addr as bigint;
  for (let i = 3; i >= 0; i--) e.view(at, 4 * NODE).set(i === 0 ? head(9) : node(i), i * NODE);
  assert.equal(e.u.file_unmap(at, 4n * 4096n), 0);
  assert.deepEqual(fills(e, 'a.dat'), [9, 1, 2, 3]);
  assert.equal(e.memory.used, 0, 'guest RAM is given back');
  assert.equal(e.u.check_if_file_exists('a.dat'), 1);
  const again = e.map('a.dat', 1);
  assert.equal(again.out.file_size, 4n * 4096n);
  assert.equal(e.view(again.value, 4 * NODE)[2 * NODE], 2);
  assert.equal(e.u.file_unmap(again.value, 4n * 4096n), 0);
  assert.equal(e.u.remove('a.dat'), 0);
  assert.equal(e.u.remove('a.dat'), ENOENT);
  assert.deepEqual(readdirSync(e.folder), []);
});

test('what the enclave flushed reaches the file by itself, but not the half of a flush', async () => {
  const e = enclave();
  make(e, 'b', [1, 2, 3]);
  const { value } = e.map('b');
  const bytes = e.view(value, 3 * NODE);
  assert.equal(e.u.fwrite_recovery_file(value, 'b_recovery', [1n, 0n]), 0);
  bytes.set(head(1, 1));
  bytes.set(node(7), NODE);
  await new Promise((resolve) => setTimeout(resolve, 450));
  assert.deepEqual(fills(e, 'b'), [1, 2, 3], 'a flush is under way');
  bytes.set(head(8));
  await new Promise((resolve) => setTimeout(resolve, 450));
  assert.deepEqual(fills(e, 'b'), [8, 7, 3]);
  assert.equal(contents(e, 'b')[FLAG], 0);
  e.end.abort();
});

test('a file that grows by little moves seldom, and closing finds changes that no recovery file named', () => {
  const e = enclave(undefined, 16 * 2 ** 20);
  let at = e.map('g').value;
  let moves = 0;
  for (let nodes = 2; nodes <= 500; nodes++) {
    assert.equal(e.u.fwrite_recovery_file(at, 'g_recovery', [0n]), 0);
    const { value, out } = e.u.file_remap('g', at, BigInt((nodes - 1) * NODE), BigInt(nodes * NODE));
    assert.equal(value, 0);
    if (out.file_addr !== at) moves++;
    at = out.file_addr;
    e.view(at, nodes * NODE).set(node(nodes), (nodes - 1) * NODE);
    e.view(at, NODE).set(head(nodes));
  }
  assert.ok(moves < 20, `${moves} moves`);
  e.view(at, 2 * NODE).set(node(77), NODE);
  assert.equal(e.u.file_remap('g', at, BigInt(500 * NODE), BigInt(300 * NODE)).value, 0);
  assert.equal(e.u.file_remap('g', at, BigInt(300 * NODE), BigInt(400 * NODE)).value, 0);
  assert.equal(e.u.file_unmap(at, BigInt(400 * NODE)), 0);
  const last = fills(e, 'g');
  assert.equal(last.length, 400);
  last.forEach((fill, i) => {
    assert.equal(fill, i === 0 ? 500 & 255 : i === 1 ? 77 : i < 300 ? (i + 1) & 255 : 0, `node ${i}`);
  });
  assert.equal(e.memory.used, 0);
});

test('the recovery file keeps what a flush replaces, and recovery puts it back', () => {
  const e = enclave();
  make(e, 'c', [1, 2, 3, 4]);
  const { value } = e.map('c');
  const bytes = e.view(value, 4 * NODE);
  assert.equal(e.u.fwrite_recovery_file(value, 'c_recovery', [2n, 0n]), 0);
  bytes.set(node(5), 2 * NODE);
  bytes.set(head(6));
  assert.equal(e.u.fwrite_recovery_file(value, 'c_recovery', [2n, 0n]), 0);
  assert.deepEqual(fills(e, 'c'), [6, 2, 5, 4], 'the last flush is in the file before the next begins');
  const recovery = contents(e, 'c_recovery');
  assert.equal(recovery.length, 2 * (8 + NODE));
  assert.deepEqual(
    [recovery.readBigUInt64LE(0), recovery[8], recovery.readBigUInt64LE(8 + NODE)],
    [2n, 5, 0n],
  );
  // The flush is interrupted: the flag is set, one node is new.
  bytes.set(head(6, 1));
  bytes.set(node(99), 2 * NODE);
  assert.equal(e.u.file_unmap(value, 4n * 4096n), 0);
  assert.deepEqual([fills(e, 'c')[2], contents(e, 'c')[FLAG]], [99, 1]);
  assert.equal(e.u.do_file_recovery('c', 'c_recovery'), 0);
  assert.deepEqual([...fills(e, 'c'), contents(e, 'c')[FLAG]], [6, 2, 5, 4, 0]);
  assert.ok(!existsSync(e.path('c_recovery')));
  assert.equal(e.u.do_file_recovery('c', 'c_recovery'), -1, 'there is none any more');
});

test('killed between its writes, a host leaves a file that recovery makes whole', () => {
  const e = enclave();
  make(e, 'd', [1, 2, 3, 4]);
  const script = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const [stop, folder] = process.argv.slice(1);
    const real = fs.writeSync;
    let writes = 0;
    fs.writeSync = (...args) => (++writes > Number(stop) ? process.kill(process.pid, 'SIGKILL') : real(...args));
    syncBuiltinESMExports();
    const { GuestMemory } = await import('@nestedsgx/guest');
    const { builtinOcalls } = await import(${JSON.stringify(new URL('../src/urts/ocalls/builtin-ocalls.js', import.meta.url).href)});
    const length = 2 ** 20;
    const memory = new GuestMemory({ base: 2 ** 44, slice: new Uint8Array(length), gpa: 4096, length });
    const u = builtinOcalls({ startThread: async () => 0n, memory, files: folder, ended: new AbortController().signal });
    const { value } = u.u_sgxprotectedfs_exclusive_file_map('d', 0);
    u.u_sgxprotectedfs_fwrite_recovery_file(value, 'd_recovery', [1n, 2n, 0n]);
    const bytes = memory.viewAt(Number(value), 4 * ${NODE});
    const node = (n) => new Uint8Array(${NODE}).fill(n);
    bytes.set(node(22), ${NODE}); bytes.set(node(33), 2 * ${NODE});
    bytes.set(node(11)); bytes[${FLAG}] = 0;
    u.u_sgxprotectedfs_file_unmap(value, 4n * 4096n);
    console.log('done', writes);`;
  const outcomes = new Set<string>();
  for (let stop = 0; stop < 12; stop++) {
    make(e, 'd', [1, 2, 3, 4]);
    rmSync(e.path('d_recovery'), { force: true });
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script, String(stop), e.folder], {
      cwd: new URL('.', import.meta.url).pathname,
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.ok(child.signal === 'SIGKILL' || child.stdout.startsWith('done'), child.stderr);
    if (contents(e, 'd')[FLAG] === 1) assert.equal(e.u.do_file_recovery('d', 'd_recovery'), 0);
    outcomes.add(`${fills(e, 'd')} ${contents(e, 'd')[FLAG]}`);
    if (child.signal === null) break;
  }
  assert.deepEqual([...outcomes].sort(), ['1,2,3,4 0', '11,22,33,4 0'], 'all or nothing');
});

test('one writer or many readers, within this process and with others', () => {
  const e = enclave();
  make(e, 'l', [1]);
  const other = enclave(e.folder);
  const readers = [e.map('l', 1), other.map('l', 1)];
  assert.ok(readers.every(({ value }) => value !== 0n));
  assert.deepEqual(e.map('l'), { value: 0n, out: { file_size: 0n, error_code: EAGAIN } });
  e.u.file_unmap(readers[0].value, 4096n);
  other.end.abort();
  const { value } = e.map('l');
  assert.notEqual(value, 0n);
  const flock = spawnSync('flock', ['-n', e.path('l'), 'true']);
  if (flock.error === undefined) assert.equal(flock.status, 1, 'the lock is the kernel’s');
  assert.equal(e.map('l', 1).out.error_code, EAGAIN);
  e.u.file_unmap(value, 4096n);
  assert.notEqual(e.map('l', 1).value, 0n);
  e.end.abort();
});

test('addresses, sizes and node numbers that the enclave made up are refused', () => {
  const e = enclave();
  make(e, 'h', [1, 2]);
  const { value } = e.map('h');
  const huge = 2n ** 63n - 1n;
  for (const [address, size] of [
    [0n, 8192n],
    [value + 4096n, 4096n],
    [value, 4096n],
    [value, -1n],
    [value, huge],
  ])
    assert.equal(e.u.file_unmap(address, size), EINVAL);
  const remap = (name: string, old: bigint, size: bigint) => e.u.file_remap(name, value, old, size).value;
  assert.equal(remap('h', 8192n, 8192n), -1, 'nothing changes');
  assert.equal(remap('other', 8192n, 12288n), EINVAL);
  assert.equal(remap('h', 4096n, 12288n), EINVAL);
  for (const size of [0n, -4096n, 1n]) assert.equal(remap('h', 8192n, size), EINVAL);
  assert.equal(remap('h', 8192n, 2n ** 30n), ENOMEM);
  assert.notEqual(remap('h', 8192n, huge), 0);
  assert.equal(e.u.file_remap('h', 12n, 8192n, 12288n).value, EINVAL);
  assert.equal(contents(e, 'h').length, 8192, 'the file was not touched');
  for (const list of [[2n], [2n ** 64n - 1n], [0n, 1n, 0n]])
    assert.equal(e.u.fwrite_recovery_file(value, 'r', list), 1, String(list));
  assert.equal(e.u.fwrite_recovery_file(value + 1n, 'r', [0n]), 1);
  assert.ok(!existsSync(e.path('r')));
  assert.equal(e.u.fwrite_recovery_file(value, 'r', null), 0);
  assert.equal(e.u.file_unmap(value, 8192n), 0);
  assert.equal(e.u.file_unmap(value, 8192n), EINVAL, 'it is closed');
  assert.equal(e.u.fwrite_recovery_file(value, 'r', [0n]), 1);
  assert.equal(remap('h', 8192n, 12288n), EINVAL);
  const readOnly = e.map('h', 1);
  e.view(readOnly.value, 8).fill(255);
  assert.equal(e.u.file_remap('h', readOnly.value, 8192n, 12288n).value, EINVAL);
  e.u.file_unmap(readOnly.value, 8192n);
  assert.deepEqual(fills(e, 'h'), [1, 2], 'what is opened for reading is never written');
});

test('recovery files that are damaged change nothing', () => {
  const e = enclave();
  make(e, 's', [1, 2]);
  const record = (number: bigint) => {
    const bytes = Buffer.alloc(8 + NODE, 66);
    bytes.writeBigUInt64LE(number);
    return bytes;
  };
  writeFileSync(e.path('r'), record(0n).subarray(1));
  assert.equal(e.u.do_file_recovery('s', 'r'), ENOTSUP);
  for (const number of [2n, 2n ** 40n, 2n ** 64n - 1n]) {
    writeFileSync(e.path('r'), record(number));
    assert.equal(e.u.do_file_recovery('s', 'r'), ENOTSUP);
  }
  for (const size of [0, 2 ** 32 - 1, 4095]) assert.equal(e.u.do_file_recovery('s', 'r', size), ENOTSUP);
  assert.equal(e.u.do_file_recovery('none', 'r'), -1);
  assert.deepEqual(fills(e, 's'), [1, 2]);
  assert.ok(existsSync(e.path('r')), 'it is kept');
});

test('names lead nowhere but into the folder', () => {
  const outside = join(base, 'outside');
  mkdirSync(join(outside, 'sub'), { recursive: true });
  writeFileSync(join(outside, 'secret'), node(1));
  const e = enclave();
  mkdirSync(e.path('in'));
  mkdirSync(`${e.folder}-beside`);
  writeFileSync(e.path('in/x'), node(1));
  symlinkSync(outside, e.path('away'));
  symlinkSync(e.path('in'), e.path('inside'));
  symlinkSync(join(outside, 'secret'), e.path('link'));
  symlinkSync(e.path('in/x'), e.path('near'));
  const before = readdirSync(outside);
  const errno = (name: string, readOnly = 0) => e.map(name, readOnly).out.error_code;
  for (const name of [
    '../outside/secret',
    'in/../../outside/new',
    join(outside, 'secret'),
    'away/secret',
    'away/sub/new',
    `${e.folder}/../outside/new`,
    `${e.folder}-beside/new`,
    '/etc/passwd',
    '/proc/self/mem',
    '/dev/null',
    '/new',
  ]) {
    assert.equal(errno(name), EACCES, name);
    assert.equal(errno(name, 1), EACCES, name);
    assert.equal(e.u.remove(name), EACCES, name);
    assert.equal(e.u.exclusive_file_open(name, 0).out.error_code, EACCES, name);
    assert.equal(e.u.recovery_file_open(name), 0n, name);
    assert.equal(e.u.check_if_file_exists(name), 1, `${name}: counts as taken, whether it is there or not`);
  }
  assert.equal(errno('link'), ELOOP);
  assert.equal(errno('near'), ELOOP);
  for (const [name, expected] of Object.entries({
    '': EINVAL,
    '.': EISDIR,
    '..': EISDIR,
    'in/': EISDIR,
    in: EISDIR,
  }))
    assert.equal(errno(name), expected, name);
  assert.equal(errno('missing/x'), ENOENT);
  const none = null as unknown as string;
  assert.equal(errno(none), EINVAL);
  assert.equal(e.u.remove(none), EINVAL);
  assert.equal(e.u.check_if_file_exists(none), 1);
  assert.equal(e.u.do_file_recovery(none, none), -1);
  assert.equal(e.u.file_remap(none, null, 0n, 4096n).value, EINVAL);
  assert.equal(e.u.exclusive_file_open(none, 0).out.error_code, EINVAL);
  assert.notEqual(errno('x'.repeat(5000)), 0);
  assert.deepEqual(readdirSync(outside), before);
  for (const name of ['in/x', 'inside/x', 'in/../in/x', join(e.folder, 'in/x')]) {
    const { value, out } = e.map(name);
    assert.equal(out.error_code, 0, name);
    e.u.file_unmap(value, 4096n);
  }
  assert.equal(e.u.remove('link'), 0, 'the link itself is in the folder');
  assert.ok(existsSync(join(outside, 'secret')));
});

test('pipes and the like are refused and do not block', () => {
  const e = enclave();
  assert.equal(spawnSync('mkfifo', [e.path('pipe')]).status, 0);
  assert.equal(e.map('pipe').out.error_code, EACCES);
  assert.equal(e.map('pipe', 1).out.error_code, EACCES);
});

test('a folder that is a link, or is /, works; what is no folder is said at once', () => {
  const e = enclave();
  symlinkSync(e.folder, join(base, 'linked'));
  const linked = enclave(join(base, 'linked'));
  const { value } = linked.map('x');
  assert.notEqual(value, 0n);
  linked.end.abort();
  assert.ok(existsSync(e.path('x')));
  const root = enclave('/');
  assert.equal(root.u.check_if_file_exists(e.path('x')), 1);
  assert.equal(root.u.check_if_file_exists(e.path('y')), 0);
  for (const bad of [e.path('x'), e.path('none')])
    assert.throws(
      () =>
        builtinOcalls({
          startThread: async () => 0n,
          memory: e.memory,
          files: bad,
          ended: e.end.signal,
        }),
      (error: unknown) => error instanceof NsgxError && error.code === 'ENCLAVE_FILES_FOLDER',
    );
});

test('without a folder every call is refused', () => {
  const e = enclave();
  const common = { startThread: async () => 0n, memory: e.memory, ended: e.end.signal };
  const files = (handlers: object) =>
    Object.keys(handlers)
      .filter((name) => name.startsWith('u_sgxprotectedfs_'))
      .sort();
  const handlers = builtinOcalls(common) as Handlers;
  assert.equal(files(handlers).length, 14);
  assert.deepEqual(files(handlers), files(builtinOcalls({ ...common, files: e.folder })));
  for (const name of files(handlers))
    assert.throws(
      () => handlers[name]('secret.dat'),
      (error: unknown) =>
        error instanceof NsgxError &&
        error.code === 'ENCLAVE_FILES_REFUSED' &&
        /secret\.dat/.test(error.message),
    );
});

test('the end of the enclave writes and closes everything, and later calls are refused', () => {
  const e = enclave();
  make(e, 'x', [1, 2]);
  const before = readdirSync('/proc/self/fd').length;
  const { value } = e.map('x');
  e.u.exclusive_file_open('y', 0);
  e.view(value, NODE).set(head(7));
  e.end.abort();
  assert.deepEqual(fills(e, 'x'), [7, 2]);
  assert.equal(readdirSync('/proc/self/fd').length, before);
  assert.equal(e.memory.used, 0);
  assert.equal(e.u.file_unmap(value, 8192n), EINVAL);
  assert.equal(e.map('x').out.error_code, ENODEV);
  assert.equal(e.u.exclusive_file_open('x', 0).out.error_code, ENODEV);
});

test('floods: open files and guest RAM end in an error number', () => {
  const e = enclave(undefined, 8 * 2 ** 20);
  const opened = Array.from({ length: 1024 }, (_, i) => e.map(`f${i}`));
  assert.equal(opened.filter(({ value }) => value !== 0n).length, 1024);
  assert.equal(e.map('more').out.error_code, EMFILE);
  assert.ok(!existsSync(e.path('more')));
  e.end.abort();
  const small = enclave(undefined, 2 ** 16);
  writeFileSync(small.path('big'), '');
  truncateSync(small.path('big'), 2 ** 20);
  assert.equal(small.map('big').out.error_code, ENOMEM);
  truncateSync(small.path('big'), 2 ** 39);
  assert.notEqual(small.map('big').out.error_code, 0);
  assert.equal(spawnSync('rm', [small.path('big')]).status, 0);
  assert.equal(small.memory.used, 0);
});

test('files of this account only: what the kernel refuses is the error number', (t) => {
  if (process.getuid?.() === 0) return t.skip('root may do everything');
  const e = enclave();
  make(e, 'closed', [1]);
  chmodSync(e.path('closed'), 0o400);
  assert.equal(e.map('closed').out.error_code, EACCES);
  assert.equal(e.map('closed', 1).out.error_code, 0);
  e.end.abort();
});

test('older SDKs: nodes by handle', () => {
  const e = enclave();
  const { value: f, out } = e.u.exclusive_file_open('o', 0) as Opened;
  assert.deepEqual([f !== 0n, out], [true, { file_size: 0n, error_code: 0 }]);
  assert.equal(e.u.exclusive_file_open('o', 0).out.error_code, EAGAIN);
  assert.equal(e.u.fwrite_node(f, 2n, node(3), NODE), 0);
  assert.equal(e.u.fwrite_node(f, 0n, node(1), NODE), 0);
  assert.deepEqual(fills(e, 'o'), [1, 0, 3]);
  const buffer = node(0);
  assert.equal(e.u.fread_node(f, 2n, buffer, NODE), 0);
  assert.deepEqual(buffer, node(3));
  assert.equal(e.u.fread_node(f, 3n, buffer, NODE), -1, 'behind the end');
  for (const number of [2n ** 52n, 2n ** 64n - 1n])
    assert.equal(e.u.fwrite_node(f, number, buffer, NODE), EINVAL);
  assert.equal(e.u.fwrite_node(f, 0n, null, NODE), -1);
  assert.equal(e.u.fflush(f), 0);
  const r = e.u.recovery_file_open('o_recovery') as bigint;
  const record = Buffer.alloc(8 + NODE, 9);
  record.writeBigUInt64LE(1n);
  assert.equal(e.u.fwrite_recovery_node(r, record), 0);
  assert.equal(e.u.fclose(r), 0);
  assert.equal(e.u.fclose(f), 0);
  assert.equal(e.u.do_file_recovery('o', 'o_recovery', NODE), 0);
  assert.deepEqual(fills(e, 'o'), [1, 9, 3]);
  for (const closed of [f, r, 0n, 2n ** 64n - 1n]) {
    assert.equal(e.u.fread_node(closed, 0n, buffer, NODE), -1);
    assert.equal(e.u.fwrite_node(closed, 0n, buffer, NODE), -1);
    assert.equal(e.u.fflush(closed), 1);
    assert.equal(e.u.fclose(closed), -1);
    assert.equal(e.u.fwrite_recovery_node(closed, record), 1);
  }
});
