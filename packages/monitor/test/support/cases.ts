/**
 * Runs one case for every row of a check list that the monitor checks: each must trip exactly its check, with the outcome
 * of its row. Rows that the processor checks are tried where there is one (package cpu).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SGX_ERROR } from '@nestedsgx/arch';
import { type CheckList, FLAG_CF, FLAG_ZF, type LeafOutcome } from '../../src/index.js';
import { tripped, World } from './world.js';

/** A case sets up the world and executes the leaf. */
export type Case<W = World> = (w: W) => LeafOutcome;

export function runCases<I extends string>(list: CheckList<I>, cases: Partial<Record<I, Case>>): void {
  runCasesIn(() => new World(), list, cases);
}

/** As runCases, each in a world of another kind. */
export function runCasesIn<I extends string, W>(
  makeWorld: () => W,
  list: CheckList<I>,
  cases: Partial<Record<I, Case<W>>>,
): void {
  for (const row of list.rows) {
    if (row.processor) continue;
    test(`${list.leaf}: ${row.id} gives ${row.outcome}`, () => {
      const w = makeWorld();
      const run = cases[row.id as I];
      assert.ok(run, `${list.leaf}.${row.id} has no case`);
      const outcome = run(w);
      assert.equal(tripped(outcome), `${list.leaf}.${row.id}`);
      switch (row.outcome) {
        case '#GP(0)':
          assert.deepEqual([outcome.kind, outcome.vector, outcome.errorCode], ['fault', 13, 0]);
          break;
        case '#PF':
          assert.deepEqual([outcome.kind, outcome.vector], ['fault', 14]);
          assert.notEqual(outcome.address, 0);
          assert.notEqual(outcome.errorCode, 0);
          break;
        case 'REFUSED':
          assert.equal(outcome.kind, 'refused');
          break;
        default:
          assert.deepEqual(
            [outcome.kind, outcome.rax],
            ['error', SGX_ERROR[row.outcome as keyof typeof SGX_ERROR]],
          );
          assert.equal(outcome.flags, row.carry ? FLAG_CF : FLAG_ZF);
      }
    });
  }
}
