/** ENCLU[EENTER], [ERESUME], [EEXIT] and leaves that do not exist. Source: Intel SDM Vol. 3D, their operations. */
import assert from 'node:assert/strict';
import { ENCLU, GPRSGX, VECTOR } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import type { Exit } from '../platform.js';
import { AT, threadAt } from '../probe/image.js';
import { OP, type Probe } from '../probe/probe.js';
import { done, gp } from './expect.js';

const EENTER = 2;
const ERESUME = 3;
const NONCANONICAL = 0x8000_0000_0000_0000n;
/** XCOMP_BV in the header of an XSAVE area. */
const XCOMP_BV = 520;

function failsEntry(exit: Exit, leaf: number, vector: number): void {
  assert.equal(exit.kind, 'exception', 'the leaf completed');
  if (exit.kind === 'exception') assert.deepEqual([exit.leaf, exit.vector], [leaf, vector]);
}

/** ERESUME of a frame in which another thread of the enclave changed a word. */
function forgedFrame(
  id: string,
  title: string,
  address: (p: Probe) => number,
  word: bigint,
): ConformanceCase {
  return {
    leaf: 'ERESUME',
    id,
    title,
    run: (c) => {
      const p = c.probe({ threads: 2 });
      assert.equal(p.start(OP.UD2).kind, 'exception');
      done(p.run(OP.STORE, { rbx: address(p), rcx: word }, 1));
      failsEntry(p.resume(), ERESUME, VECTOR.GP);
    },
  };
}

/** Cases of EENTER, ERESUME and EEXIT. */
export const ENTRY_CASES: readonly ConformanceCase[] = [
  {
    leaf: 'EENTER',
    id: 'enters',
    title: 'Enters at OENTRY with RBX = TCS and leaves by EEXIT',
    run: (c) => {
      const p = c.probe();
      done(p.run(OP.LOAD, { rbx: p.at(AT.CONSTANT) }));
    },
  },
  {
    leaf: 'EENTER',
    id: 'cssa-limit',
    title: 'With CSSA = NSSA it is #GP(0), until ERESUME frees a frame',
    run: (c) => {
      const p = c.probe({ nssa: 1 });
      assert.equal(p.start(OP.UD2).kind, 'exception');
      failsEntry(p.enclave.enter(threadAt(0).tcs, EENTER, 0), EENTER, VECTOR.GP);
      assert.equal(p.resume().kind, 'exception');
    },
  },
  {
    leaf: 'EENTER',
    id: 'inside',
    title: 'Inside an enclave it is #GP(0)',
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EENTER, p.at(threadAt(0).tcs), 0x1000));
    },
  },
  {
    leaf: 'ERESUME',
    id: 'without-exit',
    title: 'With CSSA = 0 it is #GP(0)',
    run: (c) => {
      const p = c.probe();
      failsEntry(p.resume(), ERESUME, VECTOR.GP);
      done(p.run(OP.LOAD, { rbx: p.at(AT.CONSTANT) }));
    },
  },
  {
    leaf: 'ERESUME',
    id: 'repeats',
    title: 'Resumes at the faulting instruction, which faults again',
    run: (c) => {
      const p = c.probe();
      for (let exit = p.start(OP.UD2), i = 0; i < 5; i++, exit = p.resume()) {
        assert.equal(exit.kind, 'exception');
        if (exit.kind === 'exception') assert.equal(exit.vector, VECTOR.UD);
      }
    },
  },
  {
    leaf: 'ERESUME',
    id: 'inside',
    title: 'Inside an enclave it is #GP(0)',
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.ERESUME, p.at(threadAt(0).tcs), 0x1000));
    },
  },
  forgedFrame(
    'forged-rip',
    'A non-canonical RIP in the SSA frame is #GP(0)',
    (p) => p.gprsgx(0, 0) + GPRSGX.offsets.RIP,
    NONCANONICAL,
  ),
  forgedFrame(
    'forged-fsbase',
    'A non-canonical FS base in the SSA frame is #GP(0)',
    (p) => p.gprsgx(0, 0) + GPRSGX.offsets.FSBASE,
    NONCANONICAL,
  ),
  forgedFrame(
    'forged-xsave',
    'An XSAVE header with a reserved bit in the SSA frame is #GP(0)',
    (p) => p.frame(0, 0) + XCOMP_BV,
    1n,
  ),
  {
    leaf: 'EEXIT',
    id: 'noncanonical',
    title: 'A non-canonical target is #GP(0)',
    run: (c) => gp(c.probe().run(OP.ENCLU, { rax: ENCLU.EEXIT, rbx: 2 ** 52 })),
  },
  {
    leaf: 'ENCLU',
    id: 'no-such-leaf',
    title: 'A leaf that does not exist is #GP(0)',
    run: (c) => {
      const p = c.probe();
      for (const number of [0x20, 0x7f, 0x1000]) gp(p.enclu(number, p.at(AT.DATA), p.at(AT.DATA)));
    },
  },
];
