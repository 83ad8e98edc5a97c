/** Random sequences against model and monitor: no difference, every reachable row hit. `NSGX_SOAK=1`: one million. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../src/index.js';

const SOAK = process.env['NSGX_SOAK'] === '1';
const SEED = Number(process.env['NSGX_SEED'] ?? 20_261_122);
const SEQUENCES = SOAK ? 1_000_000 : 20_000;

test(`${SEQUENCES} sequences of seed ${SEED} agree, and every row is hit`, (t) => {
  const { finding, coverage, ...figures } = simulate({ seed: SEED, sequences: SEQUENCES });
  assert.equal(
    finding,
    null,
    finding === null
      ? ''
      : `${finding.difference}\n${finding.steps.join('\n')}\nagain: nsgx simulate --replay ${finding.replay}`,
  );
  assert.equal(figures.sequences, SEQUENCES);
  t.diagnostic(JSON.stringify(figures));
  assert.deepEqual(
    coverage.missing().map(({ name }) => name),
    [],
    'rows that can be reached and were not',
  );
  assert.deepEqual(
    coverage.unexpected().map(({ name }) => name),
    [],
    'rows that were said to be unreachable',
  );
});

test('the same seed gives the same sequences', () => {
  const first = simulate({ seed: 5, sequences: 300 });
  const again = simulate({ seed: 5, sequences: 300 });
  assert.deepEqual(again.coverage.rows(), first.coverage.rows());
  const other = simulate({ seed: 6, sequences: 300 });
  assert.notDeepEqual(other.coverage.rows(), first.coverage.rows());
});

test('a sequence does not depend on those before it', () => {
  const { coverage: run, finding } = simulate({ seed: 9, sequences: 41 });
  assert.equal(finding, null);
  const before = simulate({ seed: 9, sequences: 40 }).coverage;
  const alone = simulate({ seed: 9, sequences: 1, from: 40 }).coverage;
  for (const { name, hits } of alone.rows()) assert.equal(run.hits(name) - before.hits(name), hits, name);
});
