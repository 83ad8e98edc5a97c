import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ALL_CASES, type CaseResult, DEVIATIONS, runSuite, SoftwarePlatform } from '../src/index.js';

describe('conformance of the software machine', () => {
  let platform: SoftwarePlatform;
  const results = new Map<string, CaseResult>();
  before(async () => {
    platform = await SoftwarePlatform.launch();
    for (const result of await runSuite(platform, { cases: ALL_CASES }))
      results.set(`${result.leaf}.${result.id}`, result);
  });
  after(() => platform.close());

  for (const { leaf, id, title, deviation } of ALL_CASES)
    it(`${leaf}: ${title}`, () => {
      const { verdict, detail } = results.get(`${leaf}.${id}`)!;
      assert.equal(verdict, deviation === undefined ? 'passed' : 'deviation', detail);
    });

  it('names every case once, and deviations that exist', () => {
    assert.equal(results.size, ALL_CASES.length);
    for (const { deviation } of ALL_CASES)
      assert.ok(deviation === undefined || DEVIATIONS.some(({ id }) => id === deviation));
  });
});
