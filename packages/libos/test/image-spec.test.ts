/** What images are made of: specifications, Occlum.json, packages, folders as roots, policies. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { generateKey } from '@nestedsgx/image/node';
import { Layers } from '../src/image/layers.js';
import { decodePolicy, encodePolicy, type ProgramPolicy } from '../src/image/policy.js';
import {
  buildAppImage,
  checkPolicy,
  type ImageSpec,
  inspectAppImage,
  isEntryPoint,
  mergeSpecs,
  parseSize,
  readOcclum,
  readSpec,
} from '../src/index.js';
import { compile, folder } from './programs.js';

let key: string;
before(async () => {
  key = (await generateKey()).privateKeyPem;
});

function file(name: string, text: string): string {
  const path = join(mkdtempSync(join(folder, 'spec-')), name);
  writeFileSync(path, text);
  return path;
}

/** Paths in the root of an image with this specification. */
function rootOf(spec: ImageSpec, notes: string[] = []): Map<string, string> {
  const path = join(mkdtempSync(join(folder, 'image-')), 'app.img');
  buildAppImage(path, spec, { key, onNote: (text) => notes.push(text) });
  return new Map(inspectAppImage(path).root.map((entry) => [entry.path, entry.target ?? entry.kind]));
}

test('sizes', () => {
  assert.deepEqual(['64M', '1GB', '512KiB', '4096', '2 g', '7B'].map(parseSize), [
    64 * 2 ** 20,
    2 ** 30,
    512 * 1024,
    4096,
    2 * 2 ** 30,
    7,
  ]);
  for (const text of ['', 'M', '-1', '1.5G', '0', '1T', '9007199254740993G'])
    assert.equal(parseSize(text), undefined);
});

test('a specification in YAML or JSON; what it cannot say is named', () => {
  const yaml = file(
    'app.yaml',
    'entry: /bin/app\ncopy:\n  - { from: conf, to: /etc/app }\n  - /etc/hostname\nmemory: 128M\n' +
      'arguments: { policy: prefix, values: [--safe] }\nenvironment: { set: [A=b], pass: [TERM] }\nroot: rootfs\n',
  );
  const spec = readSpec(yaml);
  assert.deepEqual(spec.copy, [
    { from: join(dirname(yaml), 'conf'), to: '/etc/app' },
    { from: '/etc/hostname', to: '/etc/hostname' },
  ]);
  assert.equal(spec.memory, 128 * 2 ** 20);
  assert.equal(spec.root, join(dirname(yaml), 'rootfs'));
  assert.equal(readSpec(file('app.json', '{"entry":"/bin/app","memory":65536}')).memory, 65536);
  const full = readSpec(
    file('full.yaml', 'hostSignals: false\nstore: { path: /var/lib/app, key: mrsigner }\njit: true'),
  );
  assert.deepEqual(
    [full.hostSignals, full.store, full.jit],
    [false, { path: '/var/lib/app', key: 'mrsigner' }, true],
  );
  const server = `02${'a'.repeat(64)}`;
  const provisioned = `store: { path: /data, key: { provisioned: app.1, server: ${server}, address: "keys:7300" } }`;
  assert.deepEqual(readSpec(file('keys.yaml', provisioned)).store, {
    path: '/data',
    key: { provisioned: 'app.1', server, address: 'keys:7300' },
  });
  for (const [text, what] of [
    ['store: { path: /data, key: provisioned }', /store.key/],
    ['store: { path: /data, key: { provisioned: "a b", server: x } }', /store.key/],
    ['entry: /bin/app\nmemroy: 1M', /memroy/],
    ['memory: lots', /memory: is a size/],
    ['memory: 200', /memory: cannot be 200 bytes: did you mean 200M\?/],
    ['files: "4K"', /files: cannot be 4096 bytes$/],
    ['threads: 4', /threads/],
    ['arguments: { policy: some }', /arguments.policy/],
    ['version: 2', /version/],
    ['- a list', /expected object/],
    ['a: [', /neither YAML nor JSON/],
    ['a: &x 1\nb: *x', /neither YAML nor JSON|Unrecognized/],
  ] as const)
    assert.throws(() => readSpec(file('bad.yaml', text)), { code: 'SPEC_INVALID', message: what });
  assert.throws(() => readSpec('/nowhere.yaml'), { code: 'SPEC_INVALID' });
});

test('one specification upon another', () => {
  const lower: ImageSpec = {
    entry: '/a',
    copy: [],
    packages: ['x'],
    environment: { set: ['A=1', 'B=1'] },
    memory: 1,
  };
  const upper: ImageSpec = {
    entry: undefined,
    copy: [],
    packages: ['y'],
    environment: { set: ['B=2'], pass: ['C'] },
  };
  assert.deepEqual(mergeSpecs(lower, upper), {
    ...{ entry: '/a', copy: [], packages: ['x', 'y'], memory: 1, arguments: {} },
    environment: { set: ['A=1', 'B=2'], pass: ['C'] },
  });
});

test('Occlum.json: what means the same is taken, the rest is told or refused', () => {
  const document = {
    resource_limits: {
      user_space_size: '256MB',
      kernel_space_heap_size: '64MB',
      kernel_space_stack_size: '1MB',
      max_num_of_threads: 32,
    },
    process: { default_stack_size: '4MB', default_heap_size: '32MB', default_mmap_size: '80MB' },
    entry_points: ['/bin', '/opt/app/start'],
    env: { default: ['OCCLUM=yes'], untrusted: ['EXAMPLE'] },
    metadata: { product_id: 3, version_number: 7, debuggable: false, enable_kss: false },
    mount: [
      { target: '/', type: 'unionfs', options: { layers: [] } },
      { target: '/host', type: 'hostfs', source: '.' },
      { target: '/proc', type: 'procfs' },
      { target: '/dev', type: 'devfs' },
    ],
  };
  const { spec, entryPoints, ignored } = readOcclum(file('Occlum.json', JSON.stringify(document)));
  assert.deepEqual(spec, {
    ...{
      copy: [],
      packages: [],
      memory: 256 * 2 ** 20,
      files: 64 * 2 ** 20,
      stack: 4 * 2 ** 20,
    },
    mount: [{ path: '/host', writable: true }],
    ...{ productId: 3, svn: 7, debug: false, environment: { set: ['OCCLUM=yes'], pass: ['EXAMPLE'] } },
  });
  assert.deepEqual(
    ignored.map((text) => text.split(':', 1)[0]),
    [
      ...[
        'resource_limits.kernel_space_stack_size',
        'resource_limits.max_num_of_threads',
        'process.default_heap_size',
        'process.default_mmap_size',
      ],
      'mount /host of .',
    ],
  );
  const from = ['/bin/a', '/opt/app/start', '/binary', '/opt/app/other', '/sbin/x'];
  assert.deepEqual(
    from.map((entry) => isEntryPoint(entry, entryPoints)),
    [true, true, false, false, false],
  );
  const limits = { user_space_size: '1MB', user_space_max_size: '600MB' };
  assert.equal(
    readOcclum(file('Occlum.json', JSON.stringify({ resource_limits: limits }))).spec.memory,
    600 * 2 ** 20,
  );
  const refused = (value: unknown, code: string, message: RegExp) =>
    assert.throws(() => readOcclum(file('Occlum.json', JSON.stringify(value))), { code, message });
  refused({ mount: [{ target: '/data', type: 'sefs' }] }, 'OCCLUM_UNSUPPORTED', /\/data/);
  refused({ mount: [{ target: '/x', type: 'nfs' }] }, 'OCCLUM_UNSUPPORTED', /nfs/);
  refused({ resource_limits: { user_space_size: 'big' } }, 'OCCLUM_UNSUPPORTED', /big/);
  refused({ vm: { user_space_size: '1MB' } }, 'SPEC_INVALID', /vm/);
  assert.throws(() => readOcclum(file('Occlum.json', '{')), { code: 'SPEC_INVALID' });
});

test('a folder as the root: its own links and libraries, and nothing of this machine', () => {
  const root = mkdtempSync(join(folder, 'root-'));
  const program = compile('names', '-static-pie');
  for (const name of ['usr/bin', 'etc', 'empty']) mkdirSync(join(root, name), { recursive: true });
  symlinkSync('/usr/bin', join(root, 'bin'));
  copyFileSync(program, join(root, 'usr/bin/app-1'));
  symlinkSync('app-1', join(root, 'usr/bin/app'));
  writeFileSync(join(root, 'etc/conf'), 'x');
  const found = rootOf({
    entry: '/bin/app',
    root,
    copy: [{ from: program, to: '/opt/deep/copy' }],
    packages: [],
  });
  assert.equal(found.get('/bin'), '/usr/bin');
  assert.equal(found.get('/usr/bin/app'), 'app-1');
  assert.equal(found.get('/etc/conf'), 'file');
  assert.equal(found.get('/empty'), 'folder');
  assert.equal(found.get('/opt/deep/copy'), 'file');
  assert.ok(!found.has('/usr/lib'));
  const missing = (entry: string) => () => rootOf({ entry, root, copy: [], packages: [] });
  assert.throws(missing('/bin/sh'), { code: 'PROGRAM_MISSING' });
  copyFileSync(compile('names'), join(root, 'usr/bin/dynamic'));
  assert.throws(missing('/bin/dynamic'), { code: 'PROGRAM_MISSING' });
  symlinkSync('..', join(root, 'up'));
  symlinkSync('loop', join(root, 'loop'));
  const layers = new Layers([root]);
  assert.equal(layers.follow('/up/up/etc/../etc/conf'), '/etc/conf');
  assert.equal(layers.follow('/loop'), undefined);
  assert.equal(layers.find('/../../etc/passwd'), undefined);
});

test('packages: a .deb that is not installed, and an installed one', (t) => {
  if (spawnSync('dpkg-deb', ['--version']).status !== 0) return t.skip('there is no dpkg');
  const tree = mkdtempSync(join(folder, 'deb-'));
  for (const name of ['DEBIAN', 'usr/bin', 'usr/share/doc/probe', 'etc'])
    mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    'Package: probe\nVersion: 1\nArchitecture: amd64\nMaintainer: none <none@example.org>\nDescription: probe\n',
  );
  copyFileSync(compile('process'), join(tree, 'usr/bin/probe'));
  writeFileSync(join(tree, 'usr/share/doc/probe/README'), 'left out');
  writeFileSync(join(tree, 'etc/probe.conf'), 'x');
  const deb = join(folder, 'probe.deb');
  execFileSync('dpkg-deb', ['--root-owner-group', '-b', tree, deb], { stdio: 'pipe' });
  const found = rootOf({ entry: '/usr/bin/probe', copy: [], packages: [deb, 'base-files'] });
  assert.equal(found.get('/usr/bin/probe'), 'file');
  assert.equal(found.get('/etc/probe.conf'), 'file');
  assert.ok(!found.has('/usr/share/doc/probe/README'));
  assert.ok(found.has('/etc/debian_version'));
  assert.ok([...found.keys()].some((path) => path.endsWith('/libc.so.6')));
  for (const name of ['no-such-package-here', '../x.deb', '-x'])
    assert.throws(() => rootOf({ entry: '/bin/ls', copy: [], packages: [name] }), {
      code: 'PACKAGE_MISSING',
    });
});

const POLICY: ProgramPolicy = {
  arguments: { policy: 'prefix', values: ['/bin/app', '--safe', ''] },
  environment: { set: ['A=b=c', 'B='], pass: ['TERM', 'LC_*'] },
};

test('policies are read as they were written; impossible ones are refused', () => {
  assert.deepEqual(decodePolicy(encodePolicy(POLICY)), POLICY);
  const any: ProgramPolicy = { arguments: { policy: 'any', values: [] }, environment: 'any' };
  assert.deepEqual(decodePolicy(encodePolicy(any)), any);
  const wrong: ProgramPolicy[] = [
    { ...any, arguments: { policy: 'fixed', values: [] } },
    { ...any, arguments: { policy: 'any', values: ['a\0b'] } },
    { ...any, environment: { set: ['=x'], pass: [] } },
    { ...any, environment: { set: ['x'], pass: [] } },
    { ...any, environment: { set: [], pass: ['A=B'] } },
    { ...any, environment: { set: [], pass: ['A*B'] } },
    { ...any, arguments: { policy: 'any', values: ['x'.repeat(200_000)] } },
  ];
  for (const policy of wrong) assert.throws(() => encodePolicy(policy), { code: 'IMAGE_POLICY_INVALID' });
  const bytes = encodePolicy(POLICY);
  for (const [at, value] of [
    [0, 0],
    [4, 3],
    [8, 2],
    [12, 0x7fff_ffff],
  ]) {
    const copy = bytes.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    assert.throws(() => decodePolicy(copy), { code: 'APP_IMAGE_MALFORMED' });
  }
  assert.throws(() => decodePolicy(bytes.subarray(0, 20)), { code: 'APP_IMAGE_MALFORMED' });
});

test('what a host may say', () => {
  checkPolicy(POLICY, ['/bin/app', '--safe', '', 'more'], ['TERM=x', 'LC_ALL=C', 'LC_=']);
  const refused = (policy: ProgramPolicy, argv: string[], env: string[]) =>
    assert.throws(() => checkPolicy(policy, argv, env), { code: 'POLICY_REFUSED' });
  refused(POLICY, ['/bin/app', '--safe'], []);
  refused(POLICY, ['/bin/other', '--safe', ''], []);
  for (const env of ['LD_PRELOAD=x', 'TERMINAL=x', 'LC=x', 'A=z'])
    refused(POLICY, [...POLICY.arguments.values], [env]);
  const fixed: ProgramPolicy = { ...POLICY, arguments: { ...POLICY.arguments, policy: 'fixed' } };
  refused(fixed, [...fixed.arguments.values, 'more'], []);
  checkPolicy(fixed, [...fixed.arguments.values], []);
});

test('the policy and the sizes are measured', () => {
  const entry = compile('names');
  const build = (more: Partial<ImageSpec>) => {
    const path = join(mkdtempSync(join(folder, 'measured-')), 'app.img');
    buildAppImage(path, { entry, copy: [], packages: [], ...more }, { key });
    const { mrenclave, policy, memory, stack } = inspectAppImage(path);
    assert.ok(readFileSync(path).length > 0);
    return { mrenclave, policy, memory, stack };
  };
  const found = [
    build({}),
    build({ arguments: { values: ['x'] } }),
    build({ arguments: { values: ['x'], policy: 'any' } }),
    build({ environment: { set: ['A=1'] } }),
    build({ environment: 'any' }),
    build({ memory: 32 * 2 ** 20 }),
    build({ stack: 2 ** 21 }),
  ];
  assert.equal(new Set(found.map(({ mrenclave }) => mrenclave)).size, found.length);
  assert.deepEqual(found[1].policy.arguments, { policy: 'fixed', values: [entry, 'x'] });
  assert.equal(found[5].memory, 32 * 2 ** 20);
  assert.equal(found[6].stack, 2 ** 21);
});
