import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { report, SDK_RESULTS } from '../src/bench/report.js';
import type { BenchResult, Row } from '../src/bench/row.js';
import { runBenches } from '../src/bench/run.js';
import { nbenchKernels } from '../src/bench/sdk/nbench.js';
import { sdkBench } from '../src/bench/sdk/sdk-bench.js';
import { Simulation } from '../src/bench/sdk/simulation.js';
import { type Judgement, judge } from '../src/bench/targets.js';
import { verdict } from '../src/bench/verdict.js';

const row = (fields: Partial<Row>): Row => ({
  name: 'sdk ecall',
  form: 'native',
  value: 1400,
  unit: 'cycles',
  p99: 2000,
  floor: 420,
  peer: 2000,
  paper: null,
  ...fields,
});

const result = (rows: Row[]): BenchResult => ({
  tscHz: 2.6e9,
  cpu: 'a CPU',
  cpus: 2,
  kernel: 'Linux',
  node: 'v20',
  date: '2026-01-01T00:00:00Z',
  busy: 0.02,
  rows,
});

test('targets are judged by the ratio to the peer', () => {
  assert.deepEqual(
    judge(row({})).map(({ target, found, met }) => [target.of, found, met]),
    [['peer', 0.7, true]],
  );
  assert.equal(judge(row({ value: 2400 }))[0]?.met, false);
  assert.deepEqual(judge(row({ peer: null })), [], 'without simulation mode there is nothing to judge by');
  const rate = judge(row({ name: 'sdk hashjoin', form: '', value: 0.98, peer: 1, unit: 'runs/s' }))[0];
  assert.equal(rate?.met, true);
  assert.match(verdict(rate as Judgement, 'runs/s'), /^≥ 0\.97 × peer: met/);
});

test('the section on enclaves of the SDK is there when it has been measured', () => {
  const own = result([row({ name: 'ecall', form: 'spin', value: 900 })]);
  const files = (sdk?: BenchResult) => new Map(report(own, { sdk }).map(({ name, text }) => [name, text]));
  assert.ok(!files().has(SDK_RESULTS));
  assert.doesNotMatch(files().get('BENCHMARKS.md') as string, /sdk ecall/);
  const sdk = result([row({ note: 'from C' })]);
  const markdown = files(sdk).get('BENCHMARKS.md') as string;
  assert.match(
    markdown,
    /## Enclaves that were built with Intel's SDK[\s\S]*\| sdk ecall \| native \| 1,400 cycles \|/,
  );
  assert.match(markdown, /\*\*sdk ecall native\*\*: from C/);
  assert.deepEqual(JSON.parse(files(sdk).get(SDK_RESULTS) as string), sdk);
});

test('programs in simulation mode are run where they are, and what they write is read', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-sim-'));
  try {
    const program = (path: string, script: string) => {
      writeFileSync(join(folder, path), `#!/bin/sh\n${script}\n`);
      chmodSync(join(folder, path), 0o755);
    };
    program(
      'bench',
      'echo "ecall_empty   median   1976 cycles  0.761 us"; echo "create median 39755820 cycles" >&2',
    );
    mkdirSync(join(folder, 'nbench'));
    program('nbench/app', 'pwd; exit 3');
    const simulation = new Simulation(folder);
    assert.deepEqual(
      [...simulation.medians()],
      [
        ['ecall_empty', 1976],
        ['create', 39755820],
      ],
    );
    assert.equal(simulation.has('nbench/app_quick', 'nbench/app'), 'nbench/app');
    assert.equal(simulation.read('nbench/NNET.DAT'), undefined);
    assert.throws(() => simulation.run('nbench', 'app'));
    assert.throws(() => simulation.number('nothing here', /KTPS: (\d+)/), /did not write/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("figures are found in nbench's table, with and without its warnings", () => {
  const text = `TEST                : Iterations/sec.  : Old Index   : New Index
--------------------:------------------:-------------:------------
NUMERIC SORT        :
** WARNING: The current test result is NOT 99 % statistically certain.
                    :          2007.3  :      51.48  :      16.91
BITFIELD            :      1.2095e+09  :     207.47  :      43.34
LU DECOMPOSITION    :          7064.1  :     365.96  :     264.26
`;
  const simulation = new Simulation('/nowhere');
  const found = nbenchKernels(undefined)
    .filter(({ name }) => ['numeric sort', 'bitfield', 'lu decomposition'].includes(name))
    .map(({ label }) => simulation.number(text, label));
  assert.deepEqual(found, [2007.3, 1.2095e9, 7064.1]);
});

test('a folder without any of the enclaves is refused', async () => {
  await assert.rejects(
    runBenches([sdkBench('/nowhere')], { short: true }),
    /has no Bench\/bench\.signed\.so/,
  );
});
