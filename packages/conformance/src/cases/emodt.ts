/** ENCLS[EMODT] through the driver, to TRIM and to TCS, and EREMOVE. Source: Intel SDM Vol. 3D, "EMODT", "EREMOVE". */
import assert from 'node:assert/strict';
import { PT_REG, PT_TCS, PT_TRIM, SECINFO_MODIFIED } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT, tcsBytes, threadAt } from '../probe/image.js';
import { OP } from '../probe/probe.js';
import { done, pf, raised, refuses, returned, succeeded } from './expect.js';
import { AUGMENTED, accept, freshPage } from './pages.js';

const needs = ['sgx2'] as const;
const PAGE = 4096;
const TRIMMED = SECINFO_MODIFIED | (PT_TRIM << 8);
const NEW_TCS = SECINFO_MODIFIED | (PT_TCS << 8);

/** Cases of EMODT and of EREMOVE at run time. */
export const TYPE_CASES: readonly ConformanceCase[] = [
  {
    leaf: 'EMODT',
    id: 'trim',
    title: 'A trimmed page is out of reach, is accepted as trimmed, and can be removed and added again, zero',
    needs,
    run: (c) => {
      const p = c.probe();
      p.write(freshPage(p), new Uint8Array([9, 9, 9]));
      p.enclave.modifyTypes(AT.FREE, PAGE, PT_TRIM);
      pf(p.run(OP.LOAD, { rbx: p.at(AT.FREE) }), p.at(AT.FREE));
      succeeded(accept(p, AT.FREE, TRIMMED));
      pf(p.run(OP.LOAD, { rbx: p.at(AT.FREE) }), p.at(AT.FREE));
      p.enclave.removePages(AT.FREE, PAGE);
      freshPage(p);
      assert.deepEqual(p.read(AT.FREE, 3), new Uint8Array(3));
    },
  },
  {
    leaf: 'EREMOVE',
    id: 'trim-not-accepted',
    title: 'The driver refuses to remove a trimmed page that the enclave has not accepted (EPERM)',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      p.enclave.modifyTypes(AT.FREE, PAGE, PT_TRIM);
      refuses('EPERM', () => p.enclave.removePages(AT.FREE, PAGE));
      succeeded(accept(p, AT.FREE, TRIMMED));
      p.enclave.removePages(AT.FREE, PAGE);
    },
  },
  {
    leaf: 'EMODT',
    id: 'accept-mismatch',
    title: 'EACCEPT of another type than the page has is SGX_PAGE_ATTRIBUTES_MISMATCH',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      p.enclave.modifyTypes(AT.FREE, PAGE, PT_TRIM);
      returned(accept(p, AT.FREE, NEW_TCS), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
      returned(accept(p, AT.FREE, AUGMENTED), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
    },
  },
  {
    leaf: 'EMODT',
    id: 'only-tcs-and-trim',
    title: 'The driver refuses other types than TCS and TRIM with EINVAL',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      refuses('EINVAL', () => p.enclave.modifyTypes(AT.FREE, PAGE, PT_REG));
    },
  },
  {
    leaf: 'EMODT',
    id: 'tcs',
    title: 'A page that becomes a TCS at run time can be entered',
    needs,
    run: (c) => {
      const p = c.probe({}, 2);
      const { tcs, stack, ssa } = threadAt(1);
      for (const offset of [tcs, stack, ssa, ssa + PAGE, ssa + 2 * PAGE]) freshPage(p, offset);
      p.write(tcs, tcsBytes(1, {}));
      p.enclave.modifyTypes(tcs, PAGE, PT_TCS);
      succeeded(accept(p, tcs, NEW_TCS));
      assert.equal(Number(done(p.run(OP.LOAD, { rbx: p.at(AT.CONSTANT) }, 1)).rax & 0xffn), 0x5a);
      raised(p.run(OP.UD2, {}, 1), 6);
      pf(p.run(OP.LOAD, { rbx: p.at(tcs) }), p.at(tcs));
    },
  },
];
