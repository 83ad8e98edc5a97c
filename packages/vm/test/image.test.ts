import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { guestKernels, lookUp } from '../src/index.js';
import { parseCopy } from '../src/initramfs/assemble.js';
import { CpioWriter } from '../src/initramfs/cpio.js';
import { KernelModules, needsOf } from '../src/initramfs/kernel-modules.js';
import { addLibraries, librariesOf, readLdd } from '../src/initramfs/libraries.js';
import { GuestTree } from '../src/initramfs/tree.js';
import { code, scratch } from './support.js';

const noBusybox = lookUp('busybox') === undefined ? 'busybox is not installed' : false;

/** Unpacks an archive with a program that is not ours. */
function unpack(tree: GuestTree, into: string): void {
  const archive = Buffer.concat(tree.archive().pieces);
  const result = spawnSync(lookUp('busybox')!, ['cpio', '-idm'], { cwd: into, input: archive });
  assert.equal(result.status, 0, String(result.stderr));
}

test('busybox unpacks an archive of files, folders and links as it was meant', { skip: noBusybox }, () => {
  using folder = scratch();
  const tree = new GuestTree();
  tree.file('/etc/deep/er/motd', 'hello\n', 0o640);
  tree.file('/bin/tool', new Uint8Array([1, 2, 3]), 0o755);
  tree.file('/empty', '');
  tree.link('/bin/alias', 'tool');
  tree.directory('/var/spool', 0o711);
  unpack(tree, folder.path);
  assert.equal(readFileSync(join(folder.path, 'etc/deep/er/motd'), 'utf8'), 'hello\n');
  assert.equal(statSync(join(folder.path, 'etc/deep/er/motd')).mode & 0o777, 0o640);
  assert.deepEqual([...readFileSync(join(folder.path, 'bin/alias'))], [1, 2, 3]);
  assert.equal(readlinkSync(join(folder.path, 'bin/alias')), 'tool');
  assert.equal(statSync(join(folder.path, 'empty')).size, 0);
  assert.equal(statSync(join(folder.path, 'var/spool')).mode & 0o777, 0o711);
});

test('files of any length and name come through', { skip: noBusybox }, () => {
  const name = fc.stringMatching(/^[a-zäß _.-]{1,40}$/u).filter((text) => !/^\.{1,2}$/.test(text));
  const files = fc.dictionary(name, fc.uint8Array({ maxLength: 70 }), { maxKeys: 8 });
  fc.assert(
    fc.property(files, (content) => {
      using folder = scratch();
      const tree = new GuestTree();
      for (const [file, bytes] of Object.entries(content)) tree.file(`/x/${file}`, bytes);
      unpack(tree, folder.path);
      for (const [file, bytes] of Object.entries(content))
        assert.deepEqual(new Uint8Array(readFileSync(join(folder.path, 'x', file))), bytes);
    }),
    { numRuns: 10 },
  );
});

test('equal content gives equal archives', () => {
  const make = () => {
    const tree = new GuestTree();
    tree.file('/a', 'x');
    tree.link('/b', 'a');
    return Buffer.concat(tree.archive().pieces);
  };
  assert.deepEqual(make(), make());
});

test('paths that leave the image are refused', () => {
  const writer = new CpioWriter();
  for (const path of ['', '/abs', 'a/../b', 'a//b', '.', 'TRAILER!!!', 'a\0b'])
    assert.throws(() => writer.add({ path, kind: 'directory', mode: 0 }), code('VM_FILE'), path);
  const tree = new GuestTree();
  tree.file('/file', '');
  assert.throws(() => tree.file('relative', ''), code('VM_FILE'));
  assert.throws(() => tree.file('/file/below', ''), code('VM_FILE'));
  tree.link('/loop', '/loop');
  assert.throws(() => tree.file('/loop/x', ''), code('VM_FILE'));
});

test('a merged root keeps its libraries where its links lead', () => {
  const tree = new GuestTree();
  tree.directory('/usr/lib');
  tree.link('/lib', 'usr/lib');
  tree.file('/lib/libx.so', 'theirs');
  assert.ok(tree.has('/usr/lib/libx.so'));
  assert.ok(tree.has('/lib/libx.so'));
  assert.ok(!tree.paths.includes('/lib/libx.so'));
});

test('a folder is copied with modes and links; sockets and the kernel’s own folders stay behind', () => {
  using folder = scratch();
  mkdirSync(join(folder.path, 'sub/proc'), { recursive: true });
  mkdirSync(join(folder.path, 'proc'));
  writeFileSync(join(folder.path, 'proc/stale'), '');
  writeFileSync(join(folder.path, 'sub/run.sh'), '#!/bin/sh\n');
  chmodSync(join(folder.path, 'sub/run.sh'), 0o755);
  symlinkSync('/nowhere', join(folder.path, 'sub/dangling'));
  const tree = new GuestTree();
  const copied = tree.copy(folder.path, '/');
  assert.deepEqual(
    copied.map(([, to]) => to),
    ['/sub/run.sh'],
  );
  assert.ok(
    tree.has('/sub/dangling') && tree.has('/sub/proc') && tree.has('/proc') && !tree.has('/proc/stale'),
  );
  assert.throws(() => new GuestTree().copy(join(folder.path, 'absent'), '/x'), code('VM_FILE'));
});

test('what is to be copied is named HOST or HOST:GUEST', () => {
  using folder = scratch();
  const file = join(folder.path, 'a:b');
  writeFileSync(file, '');
  assert.deepEqual(parseCopy(file), { from: file, to: '/root/a:b' });
  assert.deepEqual(parseCopy(`${folder.path}:/opt/x`), { from: folder.path, to: '/opt/x' });
  assert.deepEqual(parseCopy(`${file}:/opt/`), { from: file, to: '/opt/a:b' });
  assert.throws(() => parseCopy('/no/such/file:/x'), code('VM_FILE'));
});

test('ldd’s answer is read; what is not found is named', () => {
  const text =
    '\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n';
  assert.deepEqual(readLdd(text, 'x'), ['/lib/x86_64-linux-gnu/libc.so.6', '/lib64/ld-linux-x86-64.so.2']);
  assert.deepEqual(readLdd('\tnot a dynamic executable\n', 'x'), []);
  assert.throws(() => readLdd('\tlibodd.so => not found\n', 'app'), code('VM_LIBRARY_MISSING'));
  const tree = new GuestTree();
  addLibraries(tree, librariesOf([process.execPath]));
  assert.ok(tree.paths.some((path) => /\/libc\.so\.6$/.test(path)));
  assert.ok(tree.paths.some((path) => /\/ld-linux-x86-64\.so\.2$/.test(path)));
});

test('modules come behind what they need, as depmod says', {
  skip: guestKernels().length === 0 && 'no kernel',
}, () => {
  const [kernel] = guestKernels();
  const modules = new KernelModules(kernel!.modules).withNeeds(['virtio-pci', 'virtio_console']);
  const names = modules.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const depmod = join(kernel!.modules, 'modules.dep');
  if (existsSync(depmod))
    for (const line of readFileSync(depmod, 'utf8').split('\n')) {
      const [name, ...needs] = line
        .split(/:? /)
        .map((path) => path.replace(/^.*\/|\.ko.*$/g, '').replaceAll('-', '_'));
      if (!names.includes(name!)) continue;
      for (const need of needs.filter((text) => text !== ''))
        assert.ok(
          names.includes(need) && names.indexOf(need) < names.indexOf(name!),
          `${name} needs ${need}`,
        );
    }
  assert.throws(() => new KernelModules(kernel!.modules).withNeeds(['no_such']), code('VM_MODULE_MISSING'));
  assert.deepEqual(needsOf(Buffer.from('x\0depends=a-b,c\0y')), ['a_b', 'c']);
});
