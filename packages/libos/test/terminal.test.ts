/** Programs at a terminal: its modes are the host's, and as they were when the program has ended. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, folder } from './programs.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

const O_RDWR_NOCTTY = 0o402;

/** A terminal at which somebody types. */
async function terminal(program: string) {
  const typist = spawn(program, ['type'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const name = await new Promise<string>((resolve) => {
    typist.stdout.once('data', (text: Buffer) => resolve(text.toString().trim()));
  });
  const modes = () => execFileSync('stty', ['-F', name, '-g'], { encoding: 'utf8' });
  // It sets the size once it has said its name.
  while (execFileSync('stty', ['-F', name, 'size'], { encoding: 'utf8' }) !== '24 80\n');
  return { fd: openSync(name, O_RDWR_NOCTTY), modes, end: () => typist.kill('SIGKILL') };
}

test('terminals: modes, raw input, reads that need bring nothing, and all as it was at the end', async () => {
  const program = compile('terminal');
  const outside = await terminal(program);
  const expected = spawnSync(program, [], { stdio: [outside.fd, 'pipe', 'inherit'], encoding: 'utf8' });
  closeSync(outside.fd);
  outside.end();
  const found = await terminal(program);
  const modes = found.modes();
  const out = join(mkdtempSync(join(folder, 'run-')), 'out');
  const fds = [found.fd, openSync(out, 'w'), openSync('/dev/null', 'w')] as const;
  try {
    const { status } = await machine.run(buildProgramImage({ program }), [program], [], '', {
      descriptors: fds,
    });
    assert.equal(readFileSync(out, 'utf8'), expected.stdout);
    assert.equal(status, expected.status);
    assert.equal(found.modes(), modes);
  } finally {
    for (const fd of fds) closeSync(fd);
    found.end();
  }
});
