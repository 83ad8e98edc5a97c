import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENCLS_LEAVES } from '@nestedsgx/monitor';
import { usableCpus } from '@nestedsgx/os';
import { report } from '../src/bench/report.js';
import type { BenchResult, Row } from '../src/bench/row.js';
import { runBenches } from '../src/bench/run.js';
import { interleaved, median, quantile } from '../src/bench/statistics.js';
import { barChart } from '../src/bench/svg.js';
import { BENCHES } from '../src/bench/table.js';
import { type Judgement, judge, TARGETS } from '../src/bench/targets.js';
import { verdict } from '../src/bench/verdict.js';

const row = (fields: Partial<Row>): Row => ({
  name: 'ecall',
  form: 'spin',
  value: 1000,
  unit: 'cycles',
  p99: 2000,
  floor: 500,
  peer: null,
  paper: null,
  ...fields,
});

function checkRow(row: Row): void {
  const what = `${row.name} ${row.form}`;
  assert.ok(row.name.length > 0 && row.unit.length > 0, what);
  for (const key of ['value', 'p99', 'floor', 'peer', 'paper'] as const)
    assert.ok(row[key] === null || Number.isFinite(row[key]), `${what}: ${key} is ${row[key]}`);
  if (row.value === null) assert.ok(row.note, `${what} was skipped without a reason`);
  if (row.floor !== null) assert.ok(row.floor > 0, `${what}: a floor is more than nothing`);
}

for (const bench of BENCHES)
  test(`bench ${bench.name} runs in its short form and gives well-formed rows`, async () => {
    const result = await runBenches([bench], { short: true });
    assert.ok(result.tscHz > 1e8 && result.rows.length > 0);
    for (const row of result.rows) checkRow(row);
    const keys = result.rows.map(({ name, form }) => `${name} ${form}`);
    assert.equal(new Set(keys).size, keys.length, 'no row appears twice');
    if (bench.name === 'transitions')
      for (const name of ['ecall', 'ocall', 'eenter-eexit', 'aex-eresume'])
        for (const form of ['spin', 'one-cpu', 'cold']) {
          const found = result.rows.find((row) => row.name === name && row.form === form);
          assert.ok(found, `${name} ${form}`);
          assert.equal(found.unit, 'cycles');
          assert.equal(found.value === null, form !== 'one-cpu' && usableCpus().length < 2);
        }
    if (bench.name === 'leaves') {
      const forms = usableCpus().length < 2 ? ['one-cpu'] : ['spin', 'one-cpu', 'cold'];
      for (const { name } of ENCLS_LEAVES)
        for (const form of forms)
          if (name !== 'EINIT' || form !== 'cold')
            assert.ok(
              result.rows.some((row) => row.name === name.toLowerCase() && row.form === form),
              `${name} ${form}`,
            );
    }
    if (bench.name === 'load')
      for (const row of result.rows.filter((row) => row.name === 'churn left over' && row.form !== 'memory'))
        assert.equal(row.value, 0, `${row.form} left behind`);
  });

test('order statistics', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(quantile([1, 2, 3, 4], 0.99), 4);
  assert.throws(() => median([]), RangeError);
  const order: string[] = [];
  const figures = interleaved(2, {
    a: () => {
      order.push('a');
      return 1;
    },
    b: () => {
      order.push('b');
      return [2, 3];
    },
  });
  assert.deepEqual(order, ['a', 'b', 'a', 'b']);
  assert.deepEqual(figures, { a: [1, 1], b: [2, 3, 2, 3] });
});

test('targets are judged by value and by ratio to the floor', () => {
  const judged = judge(row({}));
  assert.deepEqual(
    judged.map(({ target, found, met }) => [target.of, found, met]),
    [
      ['value', 1000, true],
      ['ratio', 2, true],
    ],
  );
  assert.deepEqual(
    judge(row({ value: 1400 })).map(({ met }) => met),
    [false, false],
  );
  assert.deepEqual(judge(row({ value: null })), []);
  const rate = (value: number) => judge(row({ name: 'ewb-eldu', form: 'batched', value, floor: 100_000 }))[0];
  assert.deepEqual([rate(41_000)?.met, rate(39_000)?.met], [true, false], 'of a rate more is better');
  assert.match(verdict(rate(41_000) as Judgement, 'pages/s'), /^≥ 0\.4 × floor: met \(1\.02 of it\)$/);
  const either = (value: number, floor: number) =>
    judge(row({ name: 'libos fio', form: 'read overlay', value, floor })).map(({ target, met }) => [
      target.of,
      met,
    ]);
  assert.deepEqual(either(700, 1000), [['ratio', true]]);
  assert.deepEqual(either(1200, 8000), [['value', true]], 'a value that will do');
  assert.deepEqual(either(900, 8000), [['value', false]]);
  assert.equal(new Set(TARGETS.map((t) => `${t.name} ${t.form} ${t.of}`)).size, TARGETS.length);
});

test('a report has every row, the verdict on every target, and plots', () => {
  const result: BenchResult = {
    tscHz: 2.6e9,
    cpu: 'a CPU',
    cpus: 2,
    kernel: 'Linux',
    node: 'v20',
    date: '2026-01-01T00:00:00Z',
    busy: 0,
    rows: [
      row({}),
      row({ form: 'cold', value: 40_000, floor: null }),
      row({ name: 'x<y', value: null, note: 'why' }),
    ],
  };
  const files = new Map(report(result).map(({ name, text }) => [name, text]));
  const markdown = files.get('BENCHMARKS.md') as string;
  assert.match(markdown, /\| ecall \| spin \| 1,000 cycles \|.*≤ 1,300 cycles: met/);
  assert.match(markdown, /\| ecall \| cold \|.*MISSED/);
  assert.match(markdown, /2 of 3 targets met/);
  assert.match(markdown, /\*\*x<y spin\*\*: why/);
  assert.deepEqual(JSON.parse(files.get('bench/results.json') as string), result);
  assert.match(files.get('bench/transitions-spin.svg') as string, /^<svg [\s\S]*<rect[\s\S]*<\/svg>\n$/);
});

test('a chart escapes its labels and refuses to be empty', () => {
  const svg = barChart('a & b', 'cycles', [
    { label: '<x>', bars: [{ label: '', value: 10, kind: 'value' }] },
  ]);
  assert.ok(svg.includes('a &#38; b') && svg.includes('&#60;x&#62;'));
  assert.throws(() => barChart('t', 'u', []), RangeError);
});
