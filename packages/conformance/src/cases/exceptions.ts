/** Asynchronous exits. Source: Intel SDM Vol. 3D, "Enclave Exiting Events", "EXITINFO" and "EXINFO". */
import assert from 'node:assert/strict';
import { GPRSGX, MISCSELECT_EXINFO, VECTOR } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT, threadAt } from '../probe/image.js';
import { OP, type Probe } from '../probe/probe.js';
import { done, gp, pf, raised, ud } from './expect.js';

const leaf = 'EXCEPTION';
const EXITINFO = 160;

/** EXITINFO of SSA frame 0 of thread 0, read by thread 1 while thread 0 is out. */
function exitInfoAfter(p: Probe, op: number, registers = {}): number {
  assert.equal(p.start(op, registers).kind, 'exception');
  const { rax } = done(p.run(OP.LOAD, { rbx: p.gprsgx(0, 0) + EXITINFO }, 1));
  return Number(rax & 0xffff_ffffn);
}

const VALID_HARDWARE = 0x8000_0300;

/** Cases of asynchronous exits. */
export const EXCEPTION_CASES: readonly ConformanceCase[] = [
  { leaf, id: 'ud', title: 'UD2 is #UD', run: (c) => ud(c.probe().run(OP.UD2)) },
  {
    leaf,
    id: 'de',
    title: 'A division by zero is #DE',
    run: (c) => raised(c.probe().run(OP.DIVIDE), VECTOR.DE),
  },
  {
    leaf,
    id: 'int3',
    title: 'INT3 is #UD without debug opt-in',
    run: (c) => ud(c.probe().run(OP.INT3)),
  },
  { leaf, id: 'gp', title: 'A non-canonical access is #GP', run: (c) => gp(c.probe().run(OP.NONCANONICAL)) },
  {
    leaf,
    id: 'syscall',
    title: 'SYSCALL is #UD inside an enclave',
    run: (c) => ud(c.probe().run(OP.SYSCALL)),
  },
  {
    leaf,
    id: 'cpuid',
    title: 'CPUID is #UD inside an enclave',
    deviation: 'native-instructions',
    run: (c) => ud(c.probe().run(OP.CPUID)),
  },
  {
    leaf,
    id: 'pf-write',
    title: 'A write to a page without W is #PF; the address has its low 12 bits cleared',
    run: (c) => {
      const p = c.probe();
      const result = p.run(OP.STORE, { rbx: p.at(AT.CONSTANT) + 0x123, rcx: 1 });
      pf(result, p.at(AT.CONSTANT));
      if (result.kind === 'fault') assert.equal(result.address % 4096, 0);
    },
  },
  {
    leaf,
    id: 'pf-execute',
    title: 'A jump to a page without X is #PF',
    run: (c) => {
      const p = c.probe();
      pf(p.run(OP.CALL, { rbx: p.at(AT.DATA) }), p.at(AT.DATA));
    },
  },
  {
    leaf,
    id: 'pf-tcs',
    title: 'An access to a TCS page is #PF',
    run: (c) => {
      const p = c.probe();
      pf(p.run(OP.LOAD, { rbx: p.at(threadAt(0).tcs) }), p.at(threadAt(0).tcs));
    },
  },
  {
    leaf,
    id: 'exitinfo',
    title: 'EXITINFO tells exceptions with their vectors',
    run: (c) => {
      const expected: [number, number][] = [
        [OP.UD2, VALID_HARDWARE + VECTOR.UD],
        [OP.DIVIDE, VALID_HARDWARE + VECTOR.DE],
        [OP.INT3, VALID_HARDWARE + VECTOR.UD],
      ];
      for (const [op, info] of expected) assert.equal(exitInfoAfter(c.probe({ threads: 2 }), op), info);
    },
  },
  {
    leaf,
    id: 'exitinfo-without-exinfo',
    title: 'Without MISCSELECT.EXINFO a #GP and a #PF leave EXITINFO invalid',
    run: (c) => {
      assert.equal(exitInfoAfter(c.probe({ threads: 2 }), OP.NONCANONICAL) >>> 31, 0);
      const p = c.probe({ threads: 2 });
      assert.equal(exitInfoAfter(p, OP.STORE, { rbx: p.at(AT.CONSTANT) }) >>> 31, 0);
    },
  },
  {
    leaf,
    id: 'exinfo',
    title: 'With MISCSELECT.EXINFO a #PF leaves its address and error code in the SSA',
    needs: ['exinfo'],
    run: (c) => {
      const p = c.probe({ threads: 2, miscselect: MISCSELECT_EXINFO });
      const address = p.at(AT.CONSTANT) + 0x248;
      assert.equal(exitInfoAfter(p, OP.STORE, { rbx: address }), VALID_HARDWARE + VECTOR.PF);
      const exinfo = p.gprsgx(0, 0) - 16;
      assert.equal(Number(done(p.run(OP.LOAD, { rbx: exinfo }, 1)).rax), address);
      const errorCode = Number(done(p.run(OP.LOAD, { rbx: exinfo + 8 }, 1)).rax & 0xffff_ffffn);
      assert.equal(errorCode & 7, 7, 'present, write, user');
    },
  },
  {
    leaf,
    id: 'nested',
    title: 'An exception in the handler of an exception uses the next frame, and both resume in turn',
    run: (c) => {
      const p = c.probe({ threads: 2, nssa: 3 });
      assert.equal(p.start(OP.UD2).kind, 'exception');
      assert.equal(p.start(OP.DIVIDE).kind, 'exception');
      p.recover(0, 1);
      assert.equal(p.status(), 2);
      const rip = done(p.run(OP.LOAD, { rbx: p.gprsgx(0, 0) + GPRSGX.offsets.RIP }, 1)).rax;
      assert.ok(Number(rip) >= p.at(AT.CODE) && Number(rip) < p.at(AT.CODE) + 4096);
      const again = p.resume();
      assert.equal(again.kind === 'exception' && again.vector, VECTOR.UD);
    },
  },
  {
    leaf,
    id: 'registers-kept',
    title: 'Code that an exception interrupted goes on with its memory and registers as they were',
    run: (c) => {
      const p = c.probe();
      p.write(AT.DATA, new Uint8Array(64).fill(7));
      raised(p.run(OP.UD2), VECTOR.UD);
      assert.deepEqual(p.read(AT.DATA, 64), new Uint8Array(64).fill(7));
    },
  },
];
