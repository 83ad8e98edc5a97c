/** Signals that the host sends to a program: when it computes, sleeps, waits; what they do without a handler; where they are forbidden. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generateKey } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { buildProgramImage, type ProgramImage, type RunningProgram, runProgram } from '../src/index.js';
import { compile, folder } from './programs.js';

let cvm: Cvm;
let key: string;
before(async () => {
  [cvm, key] = await Promise.all([Cvm.launch(), generateKey().then(({ privateKeyPem }) => privateKeyPem)]);
});
after(() => cvm.close());

type Step = (program: RunningProgram) => void;

/** Runs a program; each character of its output that is a digit calls a step, a while after it. */
async function run(image: ProgramImage, name: string, steps: Readonly<Record<string, Step>>) {
  const path = join(folder, `${name}.out`);
  const fd = openSync(path, 'w');
  let running: RunningProgram | undefined;
  let seen = 0;
  const watch = setInterval(() => {
    const text = readFileSync(path, 'utf8');
    for (; seen < text.length; seen++) {
      const step = steps[text[seen]];
      if (step !== undefined && (seen === 0 || /[\d\n]/.test(text[seen - 1])))
        setTimeout(() => step(running!), 20);
    }
  }, 5);
  try {
    const { status } = await runProgram(cvm, image, {
      ...{ argv: [name], key, descriptors: [0, fd, fd] },
      onStart: (program) => {
        running = program;
      },
    });
    return { status, text: readFileSync(path, 'utf8') };
  } finally {
    clearInterval(watch);
    closeSync(fd);
  }
}

test('handlers run wherever the program is; without one SIGINT ends it', async () => {
  const image = buildProgramImage({ program: compile('host-signals') });
  const { status, text } = await run(image, 'host-signals', {
    1: (program) => assert.ok(program.signal('SIGUSR1')),
    2: (program) => assert.ok(program.signal('SIGUSR2')),
    3: (program) => assert.ok(program.signal('SIGHUP')),
    4: (program) => assert.ok(program.signal('SIGWINCH', (50 << 16) | 132)),
    5: (program) => assert.ok(program.signal('SIGCONT')),
    6: (program) => assert.ok(program.signal('SIGINT')),
  });
  // Signal and whether process 0 sent it.
  assert.equal(text, '12345 101 121 11 281 181 0\n6');
  assert.equal(status, 130);
});

test('numbers that are no signals are not sent', async () => {
  const image = buildProgramImage({ program: compile('host-signals') });
  const { status } = await run(image, 'host-signals-none', {
    1: (program) => {
      for (const number of [0, -1, 65, 1.5, Number.NaN]) assert.equal(program.signal(number), false);
      assert.ok(program.signal(9));
    },
  });
  assert.equal(status, 137);
});

test('where the image forbids them they do nothing', async () => {
  const image = buildProgramImage({ program: compile('alarmed'), hostSignals: false });
  const { status, text } = await run(image, 'alarmed', {
    1: (program) => {
      for (const name of ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const) assert.ok(program.signal(name));
    },
  });
  assert.equal(text, '1\n');
  assert.equal(status, 128 + 14);
});
