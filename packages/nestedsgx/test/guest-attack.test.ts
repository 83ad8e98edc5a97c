/** Attacks from inside a Linux guest: some of them here, all of them in the soak run. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { missingForGuests } from '@nestedsgx/vm';
import { allGuestAttacks, guestAttacksNamed, runGuestAttacks } from '../src/attacks/index.js';

const lacking = missingForGuests();
const skip = lacking.length === 0 ? false : lacking.map(({ what }) => what).join('; ');
const soak = process.env.NSGX_SOAK === '1';
const SHORT = ['vm-epc-kernel', 'vm-page-tables-elrange', 'vm-page-replay'];

test('a guest’s root and kernel do not get at an enclave of one of its programs', {
  skip,
  timeout: soak ? 600_000 : 120_000,
}, async () => {
  const seed = Number(process.env.NSGX_SEED ?? 20261123);
  const results = await runGuestAttacks(soak ? [] : SHORT, { seed });
  assert.equal(results.length, soak ? allGuestAttacks.length : SHORT.length);
  for (const { name, held, observed } of results) assert.ok(held, `${name} (seed ${seed}): ${observed}`);
});

test('every attack has a name of its own, says what it tries, and is listed', () => {
  const names = allGuestAttacks.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.throws(() => guestAttacksNamed(['vm-nothing']), { code: 'ATTACK_UNKNOWN' });
  const document = readFileSync(new URL('../../../../docs/VM.md', import.meta.url), 'utf8');
  for (const name of names) assert.ok(document.includes(`\`${name}\``), `${name} is missing in docs/VM.md`);
});
