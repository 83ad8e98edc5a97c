import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { missingForGuests } from '@nestedsgx/vm';

const NSGX = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'bin', 'nsgx.mjs');
const lacking = missingForGuests();
const skip = lacking.length === 0 ? false : lacking.map(({ what }) => what).join('; ');
const folder = mkdtempSync(join(tmpdir(), 'nsgx-vm-command-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function vm(args: readonly string[], input = '') {
  return spawnSync(process.execPath, [NSGX, 'vm', ...args], {
    cwd: folder,
    input,
    encoding: 'utf8',
    timeout: 60_000,
  });
}

const PLAIN = ['run', '--accel', 'tcg', '--no-machine'];

test('a command has its streams, files and exit code', { skip, timeout: 60_000 }, () => {
  writeFileSync(join(folder, 'data'), 'brought\n');
  const script = 'cat; cat data; echo wrong >&2; echo "$COLOUR" > result; exit 3';
  const { status, stdout, stderr } = vm(
    [...PLAIN, '--copy', 'data', '--out', 'result:taken', '--env', 'COLOUR=blue', '--', 'sh', '-c', script],
    'typed\n',
  );
  assert.equal(stderr, 'wrong\n');
  assert.equal(stdout, 'typed\nbrought\n');
  assert.equal(status, 3);
  assert.equal(readFileSync(join(folder, 'taken'), 'utf8'), 'blue\n');
});

test('a program of this machine comes along; a guest that takes too long is ended', {
  skip,
  timeout: 60_000,
}, () => {
  writeFileSync(join(folder, 'app.c'), '#include <unistd.h>\nint main(void) { return (int)sleep(1000); }\n');
  assert.equal(spawnSync('gcc', ['-o', 'app', 'app.c'], { cwd: folder }).status, 0);
  const { status, stderr } = vm([...PLAIN, '--timeout', '8', '--', './app']);
  assert.match(stderr, /ended after 8 s/);
  assert.equal(status, 124);
});

test('wrong usage is told before anything is booted', { skip }, () => {
  for (const args of [
    ['--memory', 'much'],
    ['--vcpus', '0'],
    ['--out', 'x'],
    ['--env', 'x'],
  ]) {
    const { status, stderr } = vm([...PLAIN, ...args]);
    assert.equal(status, 2, `${args.join(' ')}: ${stderr}`);
  }
  const { status, stderr } = vm([...PLAIN, '--memory', '64']);
  assert.equal(status, 1);
  assert.match(stderr, /VM_OPTION_INVALID/);
});
