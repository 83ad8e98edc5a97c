/** ENCLU[EACCEPT], and with it EAUG. Source: Intel SDM Vol. 3D, "EACCEPT—Accept Changes to an EPC Page". */
import assert from 'node:assert/strict';
import { ENCLU, PT_REG, SECINFO_PENDING, SECINFO_R, SECINFO_W, SECINFO_X } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT } from '../probe/image.js';
import { OP } from '../probe/probe.js';
import { done, gp, pf, returned } from './expect.js';
import { AUGMENTED, accept, freshPage } from './pages.js';

const leaf = 'EACCEPT';
const needs = ['sgx2'] as const;

/** Cases of EACCEPT. */
export const EACCEPT_CASES: readonly ConformanceCase[] = [
  {
    leaf,
    id: 'augmented',
    title: 'A page that EAUG gave is zero and writable once it is accepted',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      assert.deepEqual(p.read(AT.FREE, 4096), new Uint8Array(4096));
      p.write(AT.FREE + 8, new Uint8Array([1, 2, 3]));
      assert.deepEqual(p.read(AT.FREE + 8, 3), new Uint8Array([1, 2, 3]));
    },
  },
  {
    leaf,
    id: 'not-accepted',
    title: 'A page that was not accepted cannot be touched',
    needs,
    run: (c) => {
      const p = c.probe();
      pf(p.run(OP.STORE, { rbx: p.at(AT.FREE), rcx: 1 }), p.at(AT.FREE));
      freshPage(p);
      done(p.run(OP.STORE, { rbx: p.at(AT.FREE), rcx: 1 }));
    },
  },
  {
    leaf,
    id: 'no-execute',
    title: 'An augmented page has no X',
    needs,
    run: (c) => {
      const p = c.probe();
      pf(p.run(OP.CALL, { rbx: p.at(freshPage(p)) }), p.at(AT.FREE));
    },
  },
  {
    leaf,
    id: 'attributes-mismatch',
    title: 'Other permissions or flags than the page has are SGX_PAGE_ATTRIBUTES_MISMATCH',
    needs,
    run: (c) => {
      const p = c.probe();
      for (const flags of [SECINFO_R | SECINFO_PENDING | (PT_REG << 8), AUGMENTED | SECINFO_X])
        returned(accept(p, AT.FREE, flags), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
      freshPage(p);
    },
  },
  {
    leaf,
    id: 'nothing-to-accept',
    title: 'A SECINFO that asks for no change (neither PENDING, MODIFIED nor PR) is #GP(0)',
    needs,
    run: (c) => gp(accept(c.probe(), AT.FREE, SECINFO_R | SECINFO_W | (PT_REG << 8))),
  },
  {
    leaf,
    id: 'twice',
    title: 'Accepting again is SGX_PAGE_ATTRIBUTES_MISMATCH',
    needs,
    run: (c) => {
      const p = c.probe();
      returned(accept(p, freshPage(p), AUGMENTED), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
    },
  },
  {
    leaf,
    id: 'secinfo-aligned',
    title: 'SECINFO that is not 64-byte aligned is #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EACCEPT, p.at(AT.DATA + 32), p.at(AT.FREE)));
    },
  },
  {
    leaf,
    id: 'page-aligned',
    title: 'An address that is not 4096-byte aligned is #GP(0)',
    needs,
    run: (c) => gp(accept(c.probe(), AT.FREE + 64, AUGMENTED)),
  },
  {
    leaf,
    id: 'inside',
    title: 'Operands outside the ELRANGE are #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(accept(p, AT.SIZE, AUGMENTED));
      gp(p.enclu(ENCLU.EACCEPT, p.at(AT.SIZE), p.at(AT.FREE)));
    },
  },
  {
    leaf,
    id: 'secinfo-reserved',
    title: 'Reserved bits of SECINFO are #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(accept(p, AT.FREE, AUGMENTED | (1 << 20)));
    },
  },
];
