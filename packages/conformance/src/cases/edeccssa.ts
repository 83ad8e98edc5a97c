/** ENCLU[EDECCSSA] and [EVERIFYREPORT2]. Source: Intel SDM Vol. 3D, their operations. */
import assert from 'node:assert/strict';
import { ENCLU, VECTOR } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT } from '../probe/image.js';
import { OP } from '../probe/probe.js';
import { done, gp } from './expect.js';

/** Cases of EDECCSSA and EVERIFYREPORT2. */
export const EDECCSSA_CASES: readonly ConformanceCase[] = [
  {
    leaf: 'EDECCSSA',
    id: 'cssa-zero',
    title: 'With CSSA = 0 it is #GP(0)',
    needs: ['edeccssa'],
    run: (c) => gp(c.probe().enclu(ENCLU.EDECCSSA)),
  },
  {
    leaf: 'EDECCSSA',
    id: 'decrements',
    title: 'In a handler it gives the interrupted frame up: nothing is left to resume',
    needs: ['edeccssa'],
    run: (c) => {
      const p = c.probe();
      assert.equal(p.start(OP.UD2).kind, 'exception');
      done(p.enclu(ENCLU.EDECCSSA));
      const exit = p.resume();
      assert.equal(exit.kind === 'exception' && exit.vector, VECTOR.GP);
      done(p.run(OP.LOAD, { rbx: p.at(AT.CONSTANT) }));
    },
  },
  {
    leaf: 'EVERIFYREPORT2',
    id: 'not-enumerated',
    title: 'On a processor that does not enumerate it, it is #GP(0)',
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EVERIFYREPORT2, p.at(AT.DATA), p.at(AT.DATA + 0x1000)));
    },
  },
];
