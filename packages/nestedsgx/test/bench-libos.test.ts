import assert from 'node:assert/strict';
import { test } from 'node:test';
import { libosBench, SUBJECTS } from '../src/bench/libos/libos-bench.js';
import { namedFigures } from '../src/bench/libos/said.js';
import { libosSection } from '../src/bench/libos/section.js';
import { TRANSPORTS } from '../src/bench/libos/stage.js';
import { missing } from '../src/bench/libos/subject.js';
import { LIBOS_RESULTS, report } from '../src/bench/report.js';
import type { BenchResult, Row } from '../src/bench/row.js';
import { runBenches } from '../src/bench/run.js';
import { judge, TARGETS } from '../src/bench/targets.js';

const row = (fields: Partial<Row>): Row => ({
  ...{ name: 'libos redis', form: 'GET, gate', value: 40_000, unit: '1/s', p99: 39_000 },
  ...{ floor: 50_000, peer: null, paper: null, note: 'of clients' },
  ...fields,
});

const result = (rows: Row[]): BenchResult => ({
  ...{ tscHz: 2.6e9, cpu: 'a CPU', cpus: 2, kernel: 'Linux', node: 'v20' },
  ...{ date: '2026-01-01T00:00:00Z', busy: 0.02, rows },
});

test('each target of the library OS is that of a figure', () => {
  const rows = SUBJECTS.flatMap(({ name, figures, transports }) =>
    Object.keys(figures).flatMap((form) =>
      transports ? TRANSPORTS.map((io) => `libos ${name} ${form}, ${io}`) : [`libos ${name} ${form}`],
    ),
  );
  const targets = TARGETS.filter(({ name }) => name.startsWith('libos '));
  assert.ok(targets.length > 20);
  for (const { name, form } of targets) assert.ok(rows.includes(`${name} ${form}`), `${name} ${form}`);
});

test('shares of what Linux does are judged, and skipped rows say why', () => {
  assert.equal(judge(row({}))[0]?.met, true);
  assert.equal(judge(row({ value: 39_000 }))[0]?.met, false);
  const text = libosSection(
    result([row({}), row({ form: 'SET, gate', value: null, p99: null, note: 'needs Debian’s redis-tools' })]),
    'nsgx bench libos --out docs',
  ).join('\n');
  assert.match(text, /\| redis \| GET, gate \| 40,000 1\/s \| 50,000 1\/s \| 0\.800 \| ≥ 0\.8 × Linux: met/);
  assert.match(text, /\| redis \| SET, gate \| skipped \|/);
  assert.match(text, /\*\*redis SET, gate\*\*: needs Debian’s redis-tools/);
});

test('the section stays in the report when other benchmarks are run again', () => {
  const files = report(result([]), { libos: result([row({})]) }).map(({ name }) => name);
  assert.ok(files.includes(LIBOS_RESULTS));
});

test('lines with figures and reasons', () => {
  assert.deepEqual(
    [...namedFigures('getpid 7.70\nthread - pthread_create: no\n')],
    [
      ['getpid', 7.7],
      ['thread', 'pthread_create: no'],
    ],
  );
});

test('system calls inside beside those of Linux', { skip: missing(SUBJECTS[0]!).length > 0 }, async () => {
  const { rows } = await runBenches([libosBench(['calls'])], { short: true });
  const of = (form: string) => rows.find((found) => found.form === form);
  for (const form of ['getpid', 'clock_gettime', 'read-4096', 'pipe-1', 'getpid-trapped']) {
    const { value = null, floor = null, note } = of(form) ?? {};
    assert.ok(value !== null && value > 0 && floor !== null && floor > 0, `${form}: ${note}`);
  }
  assert.ok((of('getpid')?.value ?? 1e9) < (of('getpid-trapped')?.value ?? 0));
});
