/** `nsgx exec` as a person expects of a command that runs another: names, statuses, streams, signals. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-exec-'));
const scripts = join(folder, 'scripts');
const env = {
  PATH: [scripts, '/usr/local/bin', '/usr/bin', '/bin'].join(delimiter),
  NSGX_HOME: join(folder, 'home'),
  LANG: 'C.UTF-8',
};
mkdirSync(scripts);
mkdirSync(env.NSGX_HOME, { mode: 0o700 });

function nsgx(args: readonly string[], input?: string) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [NSGX, ...args], {
    ...{ cwd: folder, encoding: 'utf8', env, input, timeout: 60_000 },
  });
  assert.equal(signal, null, stderr);
  return { status, stdout, stderr };
}

/** A shell's view: `nsgx` is the command. */
function shell(line: string) {
  const text = `nsgx() { '${process.execPath}' '${NSGX}' "$@"; }\n${line}`;
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', text], {
    ...{ cwd: folder, encoding: 'utf8', env, timeout: 60_000 },
  });
  return { status, stdout, stderr };
}

before(() => {
  const started = nsgx(['cvm', 'start']);
  assert.equal(started.status, 0, started.stderr);
});
after(() => {
  nsgx(['cvm', 'stop']);
  rmSync(folder, { recursive: true, force: true });
});

test('a program is found as a shell finds it, past scripts that stand for one', () => {
  writeFileSync(join(scripts, 'expr'), '#!/bin/sh\nexit 9\n', { mode: 0o755 });
  assert.deepEqual(nsgx(['exec', 'expr', '6', '*', '7']), { status: 0, stdout: '42\n', stderr: '' });
  // Options behind the program are its own.
  const listed = nsgx(['exec', 'ls', '--json']);
  assert.equal(listed.status, 2);
  assert.match(listed.stderr, /^ls: unrecognized option '--json'/);
});

test('what cannot be started ends as it does in a shell', () => {
  writeFileSync(join(scripts, 'only-a-script'), '#!/bin/sh\n', { mode: 0o755 });
  for (const [program, status] of [
    ['no-such-program', 127],
    ['/no/such/program', 127],
    ['/etc/passwd', 126],
    ['/tmp', 126],
    ['only-a-script', 126],
  ] as const) {
    const found = nsgx(['exec', '--', program]);
    assert.equal(found.status, status, `${program}: ${found.stderr}`);
    assert.match(found.stderr, /^nsgx: .*\n {6}\S/);
  }
  assert.equal(nsgx(['exec', '--memory', '0', 'true']).status, 2);
});

test('statuses and signals of the program are those of nsgx', () => {
  for (const [script, status] of [
    ['exit 42', 42],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
    ['kill -SEGV $$', 139],
  ] as const)
    assert.deepEqual(nsgx(['exec', 'dash', '-c', script]), { status, stdout: '', stderr: '' }, script);
});

test('stdin is closed, a file, a pipe, or nothing', () => {
  writeFileSync(join(folder, 'words'), 'b\na\n');
  assert.equal(shell('nsgx exec sort < words').stdout, 'a\nb\n');
  assert.equal(nsgx(['exec', 'sort'], 'z\ny\n').stdout, 'y\nz\n');
  assert.equal(shell('printf "1\\n2\\n" | nsgx exec tail -n 1').stdout, '2\n');
  assert.deepEqual(shell('nsgx exec cat <&-'), { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(shell('nsgx exec cat < /dev/null'), { status: 0, stdout: '', stderr: '' });
});

test('a reader that has seen enough ends the program, silently', () => {
  for (const line of ['nsgx exec yes | head -n 1', 'nsgx exec --io ocall yes | head -n 1']) {
    const { stdout, stderr } = shell(`${line}; echo "\${PIPESTATUS[@]}"`);
    assert.deepEqual({ stdout, stderr }, { stdout: 'y\n141 0\n', stderr: '' }, line);
  }
});

test('ctrl-C ends the program; one that ignores it ends with nsgx at the third', async () => {
  const interrupted = async (script: string, times: number) => {
    const child = spawn(process.execPath, [NSGX, 'exec', 'dash', '-c', script], { cwd: folder, env });
    const ended = new Promise<number | null>((resolve) => {
      child.on('exit', (status) => resolve(status));
    });
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    for (let i = 0; i < times; i++) {
      child.kill('SIGINT');
      await new Promise((resolve) => {
        setTimeout(resolve, 100);
      });
    }
    return ended;
  };
  assert.equal(await interrupted('echo on; read line', 1), 130);
  assert.equal(await interrupted("trap '' INT; echo on; while :; do :; done", 3), 130);
});

const PYTHON = '/usr/bin/python3';
const packaged = (path: string) =>
  existsSync(path) && existsSync('/usr/bin/dpkg-query') && spawnSync('dpkg-query', ['-S', path]).status === 0;

test('a program of a Debian package has its data', { skip: !packaged(PYTHON) }, () => {
  const script = 'import json, decimal, ctypes; print(json.dumps([42]), decimal.Decimal(1) / 8)';
  assert.deepEqual(nsgx(['exec', PYTHON, '-c', script]), { status: 0, stdout: '[42] 0.125\n', stderr: '' });
  const bare = nsgx(['exec', '--no-package', PYTHON, '-c', script]);
  assert.notEqual(bare.status, 0);
  // What was taken along is looked at again before the image is used once more.
  const facts = keptFacts('encodings');
  assert.ok(facts.length > 500, `${facts.length} paths`);
});

/** Paths that an image with `part` among them was made of. */
function keptFacts(part: string): string[] {
  const images = join(env.NSGX_HOME, 'images');
  for (const name of readdirSync(images)) {
    const text = name.endsWith('.json') ? readFileSync(join(images, name), 'utf8') : '';
    if (text.includes(part)) return (JSON.parse(text) as [string, string][]).map(([path]) => path);
  }
  return [];
}

test('perl has its modules, and the locale of its environment', { skip: !packaged('/usr/bin/perl') }, () => {
  const script = 'use POSIX; use List::Util "sum"; print floor(2.5), sum(1 .. 4), "\\n"';
  assert.deepEqual(nsgx(['exec', 'perl', '-e', script]), { status: 0, stdout: '210\n', stderr: '' });
});
