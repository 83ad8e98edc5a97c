/** A short selection of what scripts/libos-suites.mjs runs: programs of Debian say the same natively and in an enclave. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Inside } from './inside.js';
import { compare, makeFiles, SUITES, which } from './suites/run.js';

let machine: Inside;
const folder = makeFiles();
before(async () => {
  machine = await Inside.open();
});
after(async () => {
  await machine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

for (const suite of SUITES) {
  const chosen = suite.cases(folder).filter(({ short }) => short);
  if (chosen.length === 0) continue;
  const skip = which(suite.program) === undefined ? `needs Debian's ${suite.package}` : false;
  test(`${suite.name}: ${chosen.length} invocations`, { skip }, async () => {
    const wrong: string[] = [];
    for (const one of chosen) {
      const { kind, text } = await compare(machine, one);
      if (kind === 'differs') wrong.push(`${one.program} ${one.args.join(' ').slice(0, 80)}: ${text}`);
    }
    assert.deepEqual(wrong, []);
  });
}
