/** `nsgx image`, `nsgx exec` from images, `nsgx ps` and `nsgx kill`, as their users meet them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-image-'));
const file = (name: string): string => join(folder, name);
const env = { PATH: process.env.PATH, NSGX_HOME: file('home'), NSGX_SOCKET: file('none.sock') };
mkdirSync(env.NSGX_HOME, { mode: 0o700 });
after(() => rmSync(folder, { recursive: true, force: true }));

function nsgx(args: readonly string[], more: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [NSGX, ...args], {
    ...{ cwd: folder, encoding: 'utf8', env: { ...env, ...more } },
  });
  return { status, stdout, stderr };
}

before(() => {
  const built = nsgx([
    ...[
      'image',
      'build',
      '-o',
      'env.img',
      '--entry',
      '/usr/bin/env',
      '--env',
      'A=of the image',
      '--env',
      'B',
    ],
    ...['--arg-policy', 'prefix', '--', '-u', 'HOME'],
  ]);
  assert.equal(built.status, 0, built.stderr);
});

test('image build says what was built; the same again gives the same', () => {
  const again = nsgx([
    ...[
      'image',
      'build',
      '-o',
      'again.img',
      '--entry',
      '/usr/bin/env',
      '--env',
      'A=of the image',
      '--env',
      'B',
    ],
    ...['--arg-policy', 'prefix', '--json', '--', '-u', 'HOME'],
  ]);
  assert.equal(again.status, 0, again.stderr);
  assert.ok(readFileSync(file('again.img')).equals(readFileSync(file('env.img'))));
  const { mrenclave, rewritten, bytes } = JSON.parse(again.stdout);
  assert.match(mrenclave, /^[0-9a-f]{64}$/);
  assert.ok(rewritten > 100 && bytes === readFileSync(file('again.img')).length);
  const inspected = JSON.parse(nsgx(['image', 'inspect', 'env.img', '--json']).stdout);
  assert.equal(inspected.mrenclave, mrenclave);
  assert.deepEqual(inspected.damage, []);
  assert.deepEqual(inspected.policy.arguments, { policy: 'prefix', values: ['/usr/bin/env', '-u', 'HOME'] });
  const lines = nsgx(['image', 'inspect', 'env.img']).stdout;
  for (const text of [mrenclave, 'the host may add to: -u HOME', 'A=of the image', 'libc.so.6'])
    assert.ok(lines.includes(text), text);
});

test('exec runs an image with its arguments and environment, and what it lets the host add', () => {
  const found = nsgx(['exec', '--env', 'B=of the host', 'env.img', 'C=1']);
  assert.equal(found.status, 0, found.stderr);
  const variables = found.stdout.trim().split('\n').sort();
  assert.deepEqual(variables, [
    'A=of the image',
    'B=of the host',
    'C=1',
    'PATH=/usr/local/bin:/usr/bin:/bin',
  ]);
});

test('exec refuses what the image does not allow', () => {
  const refused = nsgx(['exec', '--env', 'LD_PRELOAD=x', 'env.img']);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /LD_PRELOAD \[POLICY_REFUSED\]/);
  const memory = nsgx(['exec', '--memory', '128', 'env.img']);
  assert.equal(memory.status, 2);
  assert.match(memory.stderr, /--memory is an option of nsgx image build/);
});

test('a damaged image is found out', () => {
  const bytes = readFileSync(file('env.img'));
  bytes[bytes.length - 4096 * 3] ^= 1;
  writeFileSync(file('bad.img'), bytes);
  const found = nsgx(['image', 'inspect', 'bad.img']);
  assert.equal(found.status, 1);
  assert.match(found.stdout, /DAMAGED: the section root is damaged/);
  writeFileSync(file('short.img'), bytes.subarray(0, 10_000));
  for (const args of [
    ['image', 'inspect', 'short.img'],
    ['exec', 'short.img'],
  ]) {
    const refused = nsgx(args);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /\[APP_IMAGE_MALFORMED\]/);
  }
});

test('wrong usage of image build', () => {
  const usage: [readonly string[], RegExp][] = [
    [[], /--entry/],
    [['--entry', '/bin/ls', '--memory', 'much'], /--memory is a size/],
    [['--entry', '/bin/ls', '--arg-policy', 'none'], /any, fixed or prefix/],
    [['--entry', '/bin/ls', '--svn', '70000'], /--svn/],
  ];
  for (const [args, message] of usage) {
    const found = nsgx(['image', 'build', '-o', 'x.img', ...args]);
    assert.equal(found.status, 2, args.join(' '));
    assert.match(found.stderr, message);
  }
  const missing = nsgx(['image', 'build', '-o', 'x.img', '--entry', '/bin/none']);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /PROGRAM_MISSING/);
  writeFileSync(file('app.yaml'), 'entry: /bin/ls\nmemroy: 1M\n');
  assert.match(
    nsgx(['image', 'build', '-o', 'x.img', '--spec', 'app.yaml']).stderr,
    /memroy.*\[SPEC_INVALID\]/,
  );
  writeFileSync(file('Occlum.json'), '{"entry_points":["/opt"],"feature":{"amx":1}}');
  const occlum = nsgx(['image', 'build', '-o', 'x.img', '--occlum', 'Occlum.json', '--entry', '/bin/ls']);
  assert.equal(occlum.status, 2);
  assert.match(occlum.stderr, /not used: feature.amx.*\n.*started from \/opt/);
  assert.ok(!readdirSync(folder).some((name) => name.startsWith('x.img')));
});

/** The number of the one program that runs, once it does. */
async function waitForProgram(): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const { programs } = JSON.parse(nsgx(['ps', '--json']).stdout);
    if (programs.length === 1) return programs[0].pid;
    await setTimeout(50);
  }
  throw new Error('the program was not listed');
}

function ended(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
}

test('ps lists a program, kill ends it', async () => {
  assert.match(nsgx(['ps']).stdout, /no programs/);
  const child = spawn(process.execPath, [NSGX, 'exec', '--', '/bin/sleep', '60'], { env, stdio: 'ignore' });
  const end = ended(child);
  const pid = await waitForProgram();
  assert.equal(pid, child.pid);
  assert.match(nsgx(['ps']).stdout, new RegExp(`^${pid} .*/bin/sleep 60$`, 'm'));
  assert.equal(nsgx(['kill', '-KILL', String(pid)]).status, 0);
  assert.equal(await end, 'SIGKILL');
  assert.match(nsgx(['ps']).stdout, /no programs/);
  const gone = nsgx(['kill', String(pid)]);
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /PROGRAM_NOT_RUNNING/);
  for (const args of [['-FOO', '1'], ['x'], ['-9'], ['-9', '-15', '1']])
    assert.equal(nsgx(['kill', ...args]).status, 2);
});
