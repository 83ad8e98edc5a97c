/** Programs that other compilers and C libraries make: musl, and code for newer processors. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compileWith, native } from './programs.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

const MUSL = spawnSync('musl-gcc', ['--version']).error === undefined;
const V3 = /^flags\s*:.*\bavx2\b.*\bbmi2\b/m.test(
  existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'latin1') : '',
);

async function same(program: string, args: (folder: string) => string[]): Promise<void> {
  const here = mkdtempSync('/dev/shm/nsgx-toolchains-');
  try {
    const environment = { PROBE: 'value' };
    const expected = native(program, args(here), environment);
    const found = await machine.run(
      buildProgramImage({ program }),
      [program, ...args('/dev/shm')],
      ['PROBE=value'],
    );
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, expected.status);
  } finally {
    rmSync(here, { recursive: true, force: true });
  }
}

/** Debian's musl-gcc does not know -static-pie: these are what it would pass on. */
const START = '/usr/lib/x86_64-linux-musl';
const STATIC_PIE = [
  ...['-static', '-fPIE', '-nostartfiles', `${START}/rcrt1.o`, `${START}/crti.o`, `${START}/crtn.o`],
  '-Wl,-pie,--no-dynamic-linker,-z,text',
];

for (const [form, options] of [
  ['with its loader', []],
  ['static and position-independent', STATIC_PIE],
] as const)
  test(`musl, ${form}`, { skip: MUSL ? false : "needs Debian's musl-tools" }, async () => {
    for (const name of ['files', 'names', 'pipes', 'events'])
      await same(compileWith('musl-gcc', name, ...options), (folder) => [folder]);
    await same(compileWith('musl-gcc', 'process', ...options), () => ['an argument']);
  });

test('x86-64-v3', { skip: V3 ? false : 'needs a processor with AVX2 and BMI2' }, async () => {
  await same(compileWith('gcc', 'process', '-march=x86-64-v3', '-O3'), () => ['an argument']);
  await same(compileWith('gcc', 'memory', '-march=x86-64-v3', '-O3'), (folder) => [folder]);
});
