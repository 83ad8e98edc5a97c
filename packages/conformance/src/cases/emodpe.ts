/** ENCLU[EMODPE] and ENCLS[EMODPR]. Source: Intel SDM Vol. 3D, "EMODPE", "EMODPR". */
import assert from 'node:assert/strict';
import { ENCLU, PT_REG, SECINFO_PR, SECINFO_R, SECINFO_W, SECINFO_X } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT, REG_R, REG_RW, REG_RWX, REG_RX } from '../probe/image.js';
import { OP, type Probe } from '../probe/probe.js';
import { done, gp, pf, refuses, returned, succeeded } from './expect.js';
import { accept, freshPage } from './pages.js';

const needs = ['sgx2'] as const;
const PAGE = 4096;
const RET = 0xc3;

/** EMODPE: in enclaves it leaves RAX alone, so completion is all there is to see. */
function extend(p: Probe, offset: number, flags: number): void {
  done(p.enclu(ENCLU.EMODPE, p.secinfo(flags), p.at(offset)));
}

const store = (p: Probe) => p.run(OP.STORE, { rbx: p.at(AT.FREE), rcx: 1 });

/** Cases of EMODPE and EMODPR. */
export const PERMISSION_CASES: readonly ConformanceCase[] = [
  {
    leaf: 'EMODPR',
    id: 'restricts',
    title: 'W that is taken away is gone at once and stays gone after EACCEPT',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      done(store(p));
      p.enclave.restrictPermissions(AT.FREE, PAGE, SECINFO_R);
      pf(store(p), p.at(AT.FREE));
      succeeded(accept(p, AT.FREE, REG_R | SECINFO_PR));
      pf(store(p), p.at(AT.FREE));
      assert.equal(p.read(AT.FREE, 1)[0], 1);
    },
  },
  {
    leaf: 'EMODPR',
    id: 'accept-mismatch',
    title:
      'EACCEPT that expects other permissions is SGX_PAGE_ATTRIBUTES_MISMATCH: the enclave notices a lie',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      p.enclave.restrictPermissions(AT.FREE, PAGE, SECINFO_R | SECINFO_W);
      returned(accept(p, AT.FREE, REG_R | SECINFO_PR), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
    },
  },
  {
    leaf: 'EMODPR',
    id: 'write-without-read',
    title: 'The driver refuses W without R with EINVAL',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      refuses('EINVAL', () => p.enclave.restrictPermissions(AT.FREE, PAGE, SECINFO_W));
    },
  },
  {
    leaf: 'EMODPE',
    id: 'extends-w',
    title: 'Gives W back to a page that was restricted',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      p.enclave.restrictPermissions(AT.FREE, PAGE, SECINFO_R);
      succeeded(accept(p, AT.FREE, REG_R | SECINFO_PR));
      extend(p, AT.FREE, REG_RW);
      p.enclave.protect(AT.FREE, PAGE, 3);
      done(store(p));
    },
  },
  {
    leaf: 'EMODPE',
    id: 'extends-x',
    title: 'Gives X to a page; code that the enclave wrote there runs',
    needs,
    run: (c) => {
      const p = c.probe();
      p.write(freshPage(p), new Uint8Array([RET]));
      extend(p, AT.FREE, REG_RWX);
      p.enclave.protect(AT.FREE, PAGE, 7);
      done(p.run(OP.CALL, { rbx: p.at(AT.FREE) }));
    },
  },
  {
    leaf: 'EMODPR',
    id: 'takes-x',
    title: 'X that is taken away is gone at once',
    needs,
    run: (c) => {
      const p = c.probe();
      p.write(freshPage(p), new Uint8Array([RET]));
      extend(p, AT.FREE, REG_RWX);
      p.enclave.protect(AT.FREE, PAGE, 7);
      p.enclave.restrictPermissions(AT.FREE, PAGE, SECINFO_R);
      pf(p.run(OP.CALL, { rbx: p.at(AT.FREE) }), p.at(AT.FREE));
      succeeded(accept(p, AT.FREE, REG_R | SECINFO_PR));
      extend(p, AT.FREE, REG_RX);
      p.enclave.protect(AT.FREE, PAGE, 5);
      done(p.run(OP.CALL, { rbx: p.at(AT.FREE) }));
    },
  },
  {
    leaf: 'EMODPE',
    id: 'secinfo-aligned',
    title: 'SECINFO that is not 64-byte aligned is #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EMODPE, p.at(AT.DATA + 32), p.at(AT.DATA + PAGE)));
    },
  },
  {
    leaf: 'EMODPE',
    id: 'page-aligned',
    title: 'An address that is not 4096-byte aligned is #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EMODPE, p.secinfo(REG_RW), p.at(AT.DATA + PAGE + 64)));
    },
  },
  {
    leaf: 'EMODPE',
    id: 'write-without-read',
    title: 'W for a page that has no R is #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      p.enclave.restrictPermissions(AT.FREE, PAGE, 0);
      succeeded(accept(p, AT.FREE, SECINFO_PR | (PT_REG << 8)));
      gp(p.enclu(ENCLU.EMODPE, p.secinfo(SECINFO_W | SECINFO_X | (PT_REG << 8)), p.at(AT.FREE)));
    },
  },
];
