/** Stack, heap and mappings are elsewhere at each start; code is where it was measured, and nothing is lost of the memory. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile } from './programs.js';

let inside: Inside;
before(async () => {
  inside = await Inside.open();
});
after(() => inside[Symbol.asyncDispose]());

const STARTS = 5;

/** Places of stack, heap, mapping and code relative to the enclave's lowest code, in some starts of one image. */
async function places(randomize: boolean): Promise<bigint[][]> {
  const image = buildProgramImage({ program: compile('places'), memory: 32 << 20, randomize });
  const found: bigint[][] = [];
  for (let i = 0; i < STARTS; i++) {
    // A quarter is brk's.
    const { status, stdout, stderr } = await inside.run(image, ['places', '20']);
    assert.equal(status, 0, stderr);
    found.push(
      stdout
        .trim()
        .split(' ')
        .map((text) => BigInt(`0x${text}`)),
    );
  }
  return found;
}

const different = (values: readonly bigint[]) => new Set(values).size;

test('places differ from start to start, and not by a page alone', async () => {
  const all = await places(true);
  const [stack, heap, mapping] = [0, 1, 2].map((k) => all.map((row) => row[k] - row[3]));
  assert.ok(different(stack) >= STARTS - 1, `stack ${stack}`);
  assert.ok(different(heap) >= 2, `heap ${heap}`);
  assert.ok(different(mapping) >= STARTS - 2, `mapping ${mapping}`);
  assert.ok(different(mapping.map((at, i) => at - heap[i])) >= STARTS - 2, 'one moves with the other');
});

test('an image may be built so that they do not', async () => {
  const all = await places(false);
  for (const k of [0, 1, 2]) assert.equal(different(all.map((row) => row[k] - row[3])), 1);
});
