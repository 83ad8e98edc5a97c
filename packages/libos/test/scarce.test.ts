/** Programs in a machine that has hardly more EPC than they need: the driver adds pages one at a time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, native } from './programs.js';

test('pages that may only be read come where the driver has not brought them', {
  timeout: 60_000,
}, async () => {
  await using inside = await Inside.open({ epcBytes: 16 << 20 });
  const program = compile('sealed');
  const image = buildProgramImage({ program, memory: 16 << 20 });
  const { status, stdout } = await inside.run(image, ['sealed'], [], '', { io: 'gate' });
  assert.deepEqual([status, stdout], [0, native(program, []).stdout]);
});
