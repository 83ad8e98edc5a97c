import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

const PAGE = 4096;
const EEXIT = assemble(enclu(4));

let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

/** Three pages of nothing but EEXIT, the second one with other bytes between. */
function code(): Uint8Array {
  const bytes = new Uint8Array(3 * PAGE).fill(0x90);
  for (let at = 0; at + EEXIT.length <= bytes.length; at += EEXIT.length)
    if (at < PAGE || at >= 2 * PAGE || at % (3 * EEXIT.length) === 0) bytes.set(EEXIT, at);
  return bytes;
}

test('pages full of ENCLU sites are patched, taken back and patched again to the byte', (t) => {
  if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
  const bytes = code();
  const enclave = machine.start({ code: bytes });
  try {
    const { running, memory } = enclave;
    const mapped = () => memory.readMapped(AT.CODE, bytes.length);
    const patched = mapped();
    const sites = running.patchedSites;
    assert.ok(sites > 1000, `${sites} sites`);
    assert.notDeepEqual(patched, bytes);
    const range = { offset: AT.CODE, length: bytes.length, r: true, w: false, x: false };
    for (let round = 0; round < 5; round++) {
      running.protect(range);
      assert.equal(running.patchedSites, 0);
      assert.deepEqual(mapped(), bytes);
      running.protect({ ...range, x: true });
      assert.deepEqual(mapped(), patched);
      assert.deepEqual(memory.read(AT.CODE, bytes.length), bytes);
      assert.equal(running.patchedSites, sites, 'a site keeps its trampoline');
      assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    }
    // One page alone; the others stay as they are.
    running.protect({ ...range, offset: AT.CODE + PAGE, length: PAGE });
    const half = mapped();
    assert.deepEqual(half.subarray(PAGE, 2 * PAGE), bytes.subarray(PAGE, 2 * PAGE));
    assert.deepEqual(half.subarray(0, PAGE), patched.subarray(0, PAGE));
    assert.deepEqual(half.subarray(2 * PAGE), patched.subarray(2 * PAGE));
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    assert.equal(running.lost, null);
  } finally {
    enclave.close();
  }
});
