/** Memory that Linux takes out of the runner's tables: programs never notice. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRlimit } from '@nestedsgx/os';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, native } from './programs.js';

/** The process that executes a machine's only enclave. */
function runnerOf(machine: number): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'latin1');
      if (Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]) !== machine) continue;
      if (readFileSync(`/proc/${pid}/maps`, 'latin1').includes('memfd:nsgx-epc')) return Number(pid);
    } catch {
      // It has ended.
    }
  throw new Error('there is no runner with an enclave');
}

const skip = process.getuid?.() === 0 ? false : 'taking pages out of other processes needs root';

for (const io of ['gate', 'ring'] as const)
  test(`pages that are taken come back: ${io}`, { skip, timeout: 60_000 }, async () => {
    await using inside = await Inside.open({ lockMemory: false });
    const image = buildProgramImage({ program: compile('paged') });
    const path = join(inside.folder, 'told');
    const out = openSync(path, 'w');
    const input = openSync('/dev/null', 'r');
    const ran = inside.run(image, ['paged', '1500'], [], '', { io, descriptors: [input, out, out] });
    const told = () => readFileSync(path, 'latin1').trim().split('\n');
    try {
      for (let tries = 0; told().length < 3 && tries < 200; tries++) await sleep(20);
      const parts = told().flatMap((line) => line.split(' '));
      const runner = runnerOf(inside.pid);
      const pageout = compile('pageout');
      let taken = 0;
      for (; told().length < 4 && taken < 10; taken++) {
        assert.deepEqual(native(pageout, [String(runner), ...parts]), { status: 0, stdout: '', stderr: '' });
        await sleep(50);
      }
      assert.equal((await ran).status, 0, (await ran).notes.join('\n'));
      assert.equal(told()[3], 'wrong 0');
      assert.ok(taken > 3, `only ${taken} times`);
    } finally {
      await ran.catch(() => {});
      closeSync(out);
      closeSync(input);
    }
  });

const locks = skip || (getRlimit('MEMLOCK').hard < 1 << 20 && 'this account may lock hardly any memory');

test('as far as it may, a machine keeps them in memory', { skip: locks }, async () => {
  await using inside = await Inside.open();
  const image = buildProgramImage({ program: compile('paged') });
  const ran = inside.run(image, ['paged', '500']);
  await sleep(300);
  const maps = readFileSync(`/proc/${runnerOf(inside.pid)}/smaps`, 'latin1').split(
    /^(?=[0-9a-f]+-[0-9a-f]+ )/m,
  );
  const flags = maps.filter((map) => map.includes('nsgx-epc')).map((map) => /^VmFlags:.*\blo\b/m.test(map));
  await ran;
  // What is there from the start, but not what comes later in between.
  assert.ok(flags.filter(Boolean).length > 10, `${flags}`);
});
