/** Folders of the host: what programs do there is what they do on Linux, and nothing beside the folder can be reached. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { HostMounts } from '../src/run/mounts/host-mounts.js';
import type { Transport } from '../src/run/net/host-io.js';
import { Inside } from './inside.js';
import { compile, folder, native } from './programs.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

/** A new folder on a file system of the disk's, as the folders that people mount are. */
const fresh = () => mkdtempSync(join(folder, 'mounted-'));

/** Runs a program with a folder mounted, where it starts. */
async function inside(
  program: string,
  args: readonly string[],
  given: string,
  writable = true,
  io?: Transport,
) {
  const image = buildProgramImage({ program, mounts: [{ path: '/work', writable }], start: '/work' });
  const mounts = [{ path: '/work', folder: given, writable: true }];
  return machine.run(image, [program, ...args], [], '', { mounts, io });
}

async function same(
  name: string,
  known: readonly string[] = [],
  io?: Transport,
  flags: readonly string[] = [],
  file = '',
) {
  const program = compile(name, ...flags);
  const expected = native(program, [`${fresh()}${file}`]);
  const found = await inside(program, [`/work${file}`], fresh(), true, io);
  const lines = expected.stdout.split('\n');
  const answers = found.stdout.split('\n');
  assert.equal(answers.length, lines.length, `it ended early: ${answers.slice(-3).join('\n')}`);
  const differences = lines.flatMap((line, i) =>
    line === answers[i] || known.some((text) => line.startsWith(text))
      ? []
      : [`Linux: ${line}`, `here:  ${answers[i]}`],
  );
  assert.deepEqual(differences, []);
  assert.equal(found.status, expected.status);
}

const SET_ID = ['chmod("d/hard", 04755)', 'access("d/hard", X_OK)', 'status.st_mode = '];
/** Beside what behaviour.test.ts knows: programs do these things with read and write then. */
const COPIES = ['sendfile(other, fd', 'at = 12', 'syscall(SYS_copy_file_range'];

test('files of the host: open, read, write, seek, truncate, dup', () => same('files'));
test('files of the host, by gate', () => same('files', [], 'gate'));
test('names of the host: folders, links, rename, attributes', () => same('names', SET_ID));
test('locks of files of the host', () => same('locks', [], undefined, ['-pthread'], '/locked'));
test('mappings of files of the host', () => same('memory'));
for (const io of ['ring', 'ocall', 'gate'] as const)
  test(`mounts by ${io}: folders, links, large files, times, appending, mappings`, () =>
    same('mounts', [], io));
test('where calls on files of the host refuse', () =>
  same('behaviour/files', [
    ...[
      'posix_fadvise(',
      'syscall(SYS_readahead',
      'open("new", O_CREAT | O_DIRECTORY',
      'access("new", F_OK)',
    ],
    ...['ftruncate(path, 0)', 'syscall(SYS_pread64, fd, buffer, (size_t)-1', 'fcntl(fd, F_GETOWN)'],
    // Set-ID bits are not made outside; the host's file systems have lower limits of size.
    ...['syscall(SYS_memfd_create, name', 'status.st_mode = ', 'lseek(fd, 1, SEEK_CUR)', ...COPIES],
  ]));
test('where calls on names of the host refuse', () =>
  same('behaviour/names', ['chmod("f", 0177777)', 'chmod("f", 06755)', 'status.st_mode = ']));

test('nothing beside the folder is served, and nothing in it that is no file', () => {
  const outer = fresh();
  const given = join(outer, 'given');
  mkdirSync(join(given, 'sub'), { recursive: true });
  writeFileSync(join(outer, 'secret'), 'secret');
  writeFileSync(join(given, 'file'), 'file');
  symlinkSync(outer, join(given, 'up'));
  symlinkSync('../secret', join(given, 'link'));
  symlinkSync('/proc', join(given, 'proc'));
  execFileSync('mkfifo', [join(given, 'pipe')]);
  const grant = (fd: number) => {
    closeSync(fd);
    return 7;
  };
  const descriptors = { grant, borrow: () => -9 };
  const serve = (writable: boolean) => {
    const mounts = new HostMounts([{ path: '/work', folder: given, writable }], descriptors);
    const { host_files } = mounts.handlers();
    const ask = (op: number, strings: readonly string[], a = 0n, b = 0n, fd = -1n) => {
      const out = host_files(
        op,
        fd,
        a,
        b,
        Buffer.from(strings.map((text) => `${text}\0`).join(''), 'latin1'),
      );
      return Number(new DataView(out.buffer, out.byteOffset).getBigInt64(0, true));
    };
    return { mounts, ask };
  };
  const { EINVAL, ENODEV, ENOENT, ENOTDIR, EROFS, ELOOP, EPERM, ENAMETOOLONG, EBADF } = constants.errno;
  const written = serve(true);
  const { ask } = written;
  // F_OPEN, F_STAT, F_LIST of core/fs/hostfs.ts, and those that change names.
  assert.equal(ask(3, ['/work', 'file']), 7);
  for (const [path, errno] of [
    ['../secret', EINVAL],
    ['sub/../../secret', EINVAL],
    ['/etc/passwd', EINVAL],
    ['sub//file', EINVAL],
    ['./file', EINVAL],
    ['up/secret', ENOTDIR],
    ['link', ELOOP],
    ['proc/self/mem', ENOTDIR],
    ['pipe', ENOENT],
    [`${'n'.repeat(256)}`, ENAMETOOLONG],
  ] as const) {
    assert.equal(ask(3, ['/work', path]), -errno, path);
    if (path !== 'pipe') assert.ok(ask(4, ['/work', path]) < 0, path);
  }
  assert.equal(ask(3, ['/other', 'file']), -ENODEV);
  assert.equal(ask(3, ['/work']), -EINVAL);
  assert.equal(ask(2, ['/work', ''], 0n, 0n, 3n), -EBADF);
  assert.equal(ask(11, ['/work', 'file', '../out']), -EINVAL);
  assert.equal(ask(11, ['/work', 'file', 'up/out']), -ENOTDIR);
  assert.equal(ask(8, ['/work', 'up/secret', 'mine']), -ENOTDIR);
  assert.equal(ask(5, ['/work', 'up/made'], 0o700n), -ENOTDIR);
  assert.equal(ask(12, ['/work', 'file'], 0o4755n), -EPERM);
  assert.equal(ask(12, ['/work', 'link'], 0o777n), -ELOOP);
  assert.equal(ask(15, ['/work', 'link'], 0n), -ELOOP);
  assert.equal(ask(99, ['/work', 'file']), -constants.errno.ENOSYS);
  assert.equal(readFileSync(join(outer, 'secret'), 'utf8'), 'secret');
  const read = serve(false);
  for (let op = 5; op <= 16; op++) assert.equal(read.ask(op, ['/work', 'file', 'other']), -EROFS, `${op}`);
  for (const flags of [1n, 2n, 0o100n, 0o1000n]) assert.equal(read.ask(3, ['/work', 'file'], flags), -EROFS);
  assert.equal(read.ask(3, ['/work', 'file']), 7);
  assert.equal(readFileSync(join(given, 'file'), 'utf8'), 'file');
  written.mounts.close();
  read.mounts.close();
  for (const folder of [join(given, 'file'), join(given, 'missing')])
    assert.throws(() => new HostMounts([{ path: '/work', folder }], descriptors), { code: 'MOUNT_UNUSABLE' });
});

test('what is measured says where folders may be mounted, and whether they may be changed', async () => {
  const program = compile('mounts');
  const image = (writable: boolean, path = '/work') =>
    buildProgramImage({ program, mounts: [{ path, writable }] });
  const given = fresh();
  const mounts = [{ path: '/work', folder: given, writable: true }];
  const refused = await machine.run(image(false), [program, '/work'], [], '', { mounts });
  assert.match(refused.stdout, /mkdir\("many", 0777\) = -1 EROFS/);
  assert.deepEqual(readdirSync(given), []);
  const elsewhere = await machine.run(image(true, '/there'), [program, '/work'], [], '', { mounts });
  assert.match(elsewhere.stdout, /chdir\(argv\[1\]\) = -1 ENOENT/);
  const missing = await machine.run(image(true, '/there'), [program, '/there'], [], '', { mounts });
  assert.match(missing.stdout, /mkdir\("many", 0777\) = -1 ENODEV/);
  const measure = (writable: boolean, path?: string) =>
    [...image(writable, path).image.pages()]
      .filter((run) => run.measured)
      .map(({ data }) => Buffer.from(data).toString('latin1'));
  assert.notDeepEqual(measure(true), measure(false));
  assert.notDeepEqual(measure(true), measure(true, '/other'));
  for (const path of ['work', '/', '/a/../b', '/dev', '/bin/../x'])
    assert.throws(() => image(true, path), { code: 'MOUNT_PATH_INVALID' });
});

test('a host that says impossible things of its files is not believed', async () => {
  const program = compile('hostile-mounts');
  const image = buildProgramImage({ program, mounts: [{ path: '/work', writable: true }] });
  const record = (change: (view: DataView) => void = () => {}, length = 72, mode = 0o100644) => {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, mode, true);
    view.setBigUint64(8, 99n, true);
    view.setBigUint64(16, 5n, true);
    change(view);
    return bytes;
  };
  const link = (target: string, said = target.length) => {
    const bytes = record((view) => view.setUint32(68, said, true), 72 + target.length, 0o120777);
    bytes.set(Buffer.from(target, 'latin1'), 72);
    return bytes;
  };
  const answers: Record<string, Uint8Array> = {
    size: record((view) => view.setBigUint64(16, 2n ** 63n, true)),
    type: record(undefined, 72, 0o170000),
    notype: record(undefined, 72, 0o644),
    short: record().subarray(0, 71),
    nothing: new Uint8Array(0),
    error: record((view) => view.setInt32(0, -70_000, true)),
    target: link('x', 4000),
    empty: link(''),
    nul: link('a\0b'),
    long: link('x'.repeat(5000)),
    positive: record((view) => view.setInt32(0, 1, true)),
    huge: record((view) => view.setUint32(68, 0xffff_ffff, true), 72, 0o120777),
    file: record(undefined, 72, 0o100755),
  };
  const entry = (name: string, said = name.length) =>
    Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 8, said]), Buffer.from(name, 'latin1')]);
  const lists: Record<string, Uint8Array> = {
    slash: entry('../a'),
    dots: entry('..'),
    zero: entry('a\0b'),
    order: Buffer.concat([entry('b'), entry('a')]),
    same: Buffer.concat([entry('a'), entry('a')]),
    cut: entry('name', 5),
    much: Buffer.alloc(65_530),
  };
  let opened = 0;
  const answer = (result: bigint, bytes: Uint8Array = new Uint8Array(0)) =>
    Buffer.concat([new Uint8Array(BigInt64Array.of(result).buffer), bytes]);
  const host_files = (op: number, _fd: bigint, _a: bigint, _b: bigint, data: Uint8Array): Uint8Array => {
    const [, path, name] = Buffer.from(data).toString('latin1').split('\0');
    if (op === 1) return answer(1n, answers[name] ?? record(undefined, 72, 0o040755));
    if (op === 4)
      return answer(
        0n,
        name === '' || path === 'good' ? (lists[path] ?? new Uint8Array(0)) : new Uint8Array(0),
      );
    if (op === 3)
      return (
        [
          answer(2n ** 40n),
          answer(-(2n ** 62n)),
          answer(5n, record(undefined, 72, 0o040755)),
          answer(5n, record()),
        ][opened++] ?? answer(-1n)
      );
    if (op === 2) return answer(0n, record(undefined, 72, 0o120777));
    if (op === 5) return answer(3n);
    if (op === 9) return new Uint8Array(4);
    if (op === 20) return answer(0n, Buffer.from('#!/work/file\n'));
    return answer(-5000n);
  };
  const found = await machine.deceive(image, [program], { host_files });
  assert.deepEqual(found.stdout.trim().split('\n'), [
    ...Object.keys(answers).map((name) => (name === 'file' ? 'file: 0 ' : `${name}: -1 EIO`)),
    ...Object.keys(lists).map((name) => `list /work/${name}: 0 EIO`),
    'list /work/good: 2 ',
    ...['O_RDONLY', 'O_RDWR', 'O_WRONLY'].map((how) => `open("/work/file", ${how}) = -1 EIO`),
    // The descriptor that was promised is not there.
    ...['fd >= 0 = 1', 'read(fd, text, 16) = -1 EBADF'],
    ...[16, 32].map((at) => `pread(fd, text, 16, ${at}) = -1 EBADF`),
    'fstat(fd, &s) = -1 EIO',
    'mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0 = -1 EIO',
    'mkdir("/work/made", 0700) = -1 EIO',
    'unlink("/work/file") = -1 EIO',
    'rename("/work/file", "/work/other") = -1 EIO',
    'execl("/work/file", "file", NULL) = -1 ELOOP',
  ]);
});
