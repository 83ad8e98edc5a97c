/** Processes that come of each other: as on Linux, and at the limits of an enclave. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, native } from './programs.js';
import { which } from './suites/run.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

test('memory of their own, what is shared, signals, threads, programs', async () => {
  const program = compile('fork', '-pthread');
  const expected = native(program, []);
  for (let i = 0; i < 3; i++) {
    const found = await machine.run(buildProgramImage({ program }), [program]);
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, 0);
  }
});

for (const linked of [['-no-pie'], ['-no-pie', '-static'], []])
  test(`a program that runs itself several times: ${linked.join(' ') || 'at any address'}`, async () => {
    const program = compile('fixed', ...linked);
    const expected = native(program, []);
    assert.equal(expected.status, 5);
    const found = await machine.run(buildProgramImage({ program, copy: [program] }), [program]);
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, 5);
  });

test('as many processes as there are threads, and no more memory than there is', async () => {
  const program = compile('fork-limits');
  const image = buildProgramImage({ program, memory: 32 << 20 });
  const { stdout, status } = await machine.run(image, [program, '14']);
  assert.deepEqual(stdout.split('\n'), [
    ...['62, then EAGAIN', 'ended as they should: 1', '62, then EAGAIN', 'ended as they should: 1'],
    ...['the child was killed: 1, mine is right: 1', 'fork = -1 ENOMEM', 'waited 1 6', ''],
  ]);
  assert.equal(status, 0);
});

const SCRIPT = `
echo a | cat; x=$(echo b); echo $x; (exit 3); echo $?
i=0; while [ $i -lt 20 ]; do y=$(echo $i | cat); i=$((i+1)); done; echo $y
(echo late; exit 5) & wait $!; echo $?
echo one two | (read a b; echo $b $a)
f() { echo in $1; }; f 1 | while read l; do echo "<$l>"; done
trap 'echo trapped' USR1; (kill -USR1 $$); echo after
{ echo x; echo y; } | cat | cat | tail -n 1
x=1; (x=2; echo $x); echo $x
`;

for (const [name, args] of [
  ['dash', []],
  ['busybox', ['sh']],
] as const) {
  const program = which(name);
  test(`${name}: pipelines, subshells, substitutions`, { skip: program === undefined }, async () => {
    const command = [...args, '-c', SCRIPT];
    const expected = native(program!, command, { PATH: '/usr/bin:/bin' });
    const copy = ['/bin/cat', '/bin/tail'];
    const image = buildProgramImage({ program: program!, copy });
    const found = await machine.run(image, [program!, ...command], ['PATH=/usr/bin:/bin']);
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.stderr, expected.stderr);
    assert.equal(found.status, expected.status);
  });
}
