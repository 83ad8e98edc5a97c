/** Processes that are stopped and continued, as on Linux: by each other, by shells, and by whoever runs the program. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildProgramImage, type RunningProgram } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, native } from './programs.js';
import { which } from './suites/run.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

for (const io of ['ring', 'gate'] as const)
  test(`what is stopped and continued, and who is told: ${io}`, async () => {
    const program = compile('stops', '-pthread');
    const expected = native(program, []);
    const image = buildProgramImage({ program, copy: [program] });
    const found = await machine.run(image, [program], [], '', { io });
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, 0);
  });

const SCRIPT = `
set -m
sleep 5 & kill -STOP $!; sleep 0.1; jobs; kill -CONT $!; sleep 0.1; jobs; kill %1; wait %1; echo $?
cat /dev/zero > /dev/null & p=$!; kill -TSTP $p; wait $p; echo w $?; jobs; bg %1; sleep 0.1; jobs; kill %1; wait $p; echo $?
(sleep 0.2; echo sub) & kill -STOP %1; sleep 0.1; fg %1; echo fg $?
sh -c 'kill -STOP $$; echo on' & sleep 0.2; kill -CONT %1; wait; echo done
`;

const bash = which('bash');
test("a shell's jobs", { skip: bash === undefined }, async () => {
  const env = { PATH: '/usr/bin:/bin' };
  const expected = native(bash!, ['-c', SCRIPT], env);
  const image = buildProgramImage({ program: bash!, copy: ['/bin/sleep', '/bin/cat', '/bin/sh'] });
  const found = await machine.run(image, [bash!, '-c', SCRIPT], ['PATH=/usr/bin:/bin']);
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, expected.status);
});

test('the host is told that the first process is stopped, and continues it', async () => {
  const image = buildProgramImage({ program: compile('stopped') });
  let program: RunningProgram | undefined;
  let stops = 0;
  const { stdout, status } = await machine.run(image, ['stopped'], [], '', {
    onStart: (running) => {
      program = running;
      setTimeout(() => running.signal('SIGTSTP'), 100);
    },
    onStop: () => {
      stops++;
      setTimeout(() => assert.ok(program!.signal('SIGCONT')), 50);
    },
  });
  assert.deepEqual([stdout, status, stops], ['continued 1, had stood still 1, and then 2, 1\n', 0, 2]);
});
