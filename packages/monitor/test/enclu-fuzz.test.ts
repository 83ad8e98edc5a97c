/** A hostile enclave: any leaf number with any operands from any thread. The monitor answers, and stays consistent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secinfoBytes } from '@nestedsgx/arch';
import { checkInvariants, isResourceError } from '../src/index.js';
import { executeRunnerLeaf } from '../src/runner-leaves.js';
import { PagingWorld } from './support/paging-world.js';
import { augment, modifyType, restrict, SECINFO_AT } from './support/sgx2.js';
import { AT, BASE, must, SIZE } from './support/world.js';

const seed = Number(process.env.NSGX_FUZZ_SEED ?? 20260301);
const runs = Number(process.env.NSGX_FUZZ_RUNS ?? 40);

/** Numbers below n, from a linear congruence. */
function random(from: number): (n: number) => number {
  let x = from >>> 0;
  return (n) => {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((x / 2 ** 32) * n);
  };
}

/** Addresses that lie on edges: of pages, of the ELRANGE, of what a number can hold. */
function address(pick: (n: number) => number): bigint {
  const page = BigInt(BASE + 0x1000 * pick(20));
  const edges = [0n, 0x4f00n, 0x40n, 0x200n, 0x800n, 1n, 0xfffn];
  const far = [0n, 1n << 63n, (1n << 64n) - 1n, (1n << 53n) + 1n, BigInt(BASE + SIZE), BigInt(BASE - 64)];
  return pick(8) === 0 ? far[pick(far.length)] : page + edges[pick(3) === 0 ? pick(edges.length) : 0];
}

test(`random ENCLU requests are answered, one way or the other (seed ${seed}, ${runs} runs)`, () => {
  const answers = new Set<string>();
  for (let run = 0; run < runs; run++) {
    const pick = random(seed + run);
    const w = new PagingWorld();
    w.build().gates = { gpa: AT.GATES, count: 3 };
    must(w.init());
    const enclave = w.enclave();
    const [running] = w.processor.running;
    let secinfo = BigInt(SECINFO_AT);
    for (let step = 0; step < 150; step++) {
      const frame = 1 + pick(14);
      // The guest changes pages under the enclave's hands meanwhile.
      if (pick(3) === 0) augment(w, 8 + pick(10), BASE + 0x1000 * pick(20));
      if (pick(6) === 0) restrict(w, frame, 0x200 | [0, 1, 3, 5][pick(4)]);
      if (pick(8) === 0) modifyType(w, frame, [0x100, 0x400][pick(2)]);
      if (pick(10) === 0) w.block(frame);
      if (pick(4) === 0) w.track();
      if (pick(5) === 0) running.enter(pick(3), pick(2) === 0);
      // The enclave writes where it may; often a SECINFO that means something.
      const at = pick(20) * 0x1000;
      if ((running.rights.get(at) ?? '').includes('w')) {
        const flags = [0x20b, 0x20b, 0x223, 0x221, 0x110, 0x410, 0x203, 0x205, pick(0x10000)][pick(9)];
        enclave.memory.write(at + 0xf00, secinfoBytes(flags));
        secinfo = BigInt(BASE + at + 0xf00);
      }
      const request = {
        thread: pick(3),
        leaf: [0, 1, 5, 5, 5, 6, 7, 8, 9, pick(256)][pick(10)],
        rbx: pick(3) === 0 ? address(pick) : secinfo,
        rcx: address(pick),
        rdx: address(pick),
      };
      try {
        const { rax, fault } = executeRunnerLeaf(w.s, enclave, request, undefined, () => {});
        answers.add(fault === undefined ? `${request.leaf}:${rax}` : `${request.leaf}:#${fault.vector}`);
      } catch (error) {
        assert.ok(isResourceError(error), `step ${step} of run ${run}: ${error}`);
      }
      checkInvariants(w.s, [w.owner, w.other]);
    }
  }
  // Every leaf was refused in its ways, and those of SGX2 also done.
  for (const answer of [
    '0:#13',
    '1:#13',
    '5:0',
    '5:11',
    '5:19',
    '5:#13',
    '5:#14',
    '6:0',
    '6:#14',
    '7:0',
    '7:19',
    '8:#13',
    '9:#13',
  ])
    assert.ok(answers.has(answer), `${answer} never came`);
});
