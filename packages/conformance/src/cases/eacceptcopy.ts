/** ENCLU[EACCEPTCOPY]. Source: Intel SDM Vol. 3D, "EACCEPTCOPY—Initialize a Pending Page". */
import assert from 'node:assert/strict';
import { ENCLU } from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT, REG_R, REG_RW, REG_RX } from '../probe/image.js';
import { OP, type Probe, type Result } from '../probe/probe.js';
import { done, gp, pf, returned, succeeded } from './expect.js';
import { freshPage } from './pages.js';

const leaf = 'EACCEPTCOPY';
const needs = ['sgx2'] as const;
const SOURCE = AT.DATA + 0x4000;

function copy(p: Probe, flags: number, to: number = AT.FREE, from: number = SOURCE): Result {
  return p.enclu(ENCLU.EACCEPTCOPY, p.secinfo(flags), p.at(to), p.at(from));
}

/** Cases of EACCEPTCOPY. */
export const EACCEPTCOPY_CASES: readonly ConformanceCase[] = [
  {
    leaf,
    id: 'copies',
    title: 'A pending page gets contents and permissions in one step',
    needs,
    run: (c) => {
      const p = c.probe();
      const contents = new Uint8Array(4096).map((_, i) => i * 7);
      p.write(SOURCE, contents);
      succeeded(copy(p, REG_R));
      assert.deepEqual(p.read(AT.FREE, 4096), contents);
      pf(p.run(OP.STORE, { rbx: p.at(AT.FREE), rcx: 1 }), p.at(AT.FREE));
    },
  },
  {
    leaf,
    id: 'code',
    title: 'Code can be put into a pending page that becomes executable and not writable',
    needs,
    run: (c) => {
      const p = c.probe();
      p.write(SOURCE, new Uint8Array([0xc3]));
      succeeded(copy(p, REG_RX));
      p.enclave.protect(AT.FREE, 4096, 5);
      done(p.run(OP.CALL, { rbx: p.at(AT.FREE) }));
    },
  },
  {
    leaf,
    id: 'accepted-already',
    title: 'A page that is not pending is SGX_PAGE_ATTRIBUTES_MISMATCH',
    needs,
    run: (c) => {
      const p = c.probe();
      freshPage(p);
      returned(copy(p, REG_RW), 'SGX_PAGE_ATTRIBUTES_MISMATCH');
    },
  },
  {
    leaf,
    id: 'alignment',
    title: 'Misaligned operands are #GP(0)',
    needs,
    run: (c) => {
      const p = c.probe();
      gp(copy(p, REG_RW, AT.FREE + 64));
      gp(copy(p, REG_RW, AT.FREE, SOURCE + 64));
      gp(p.enclu(ENCLU.EACCEPTCOPY, p.at(AT.DATA + 32), p.at(AT.FREE), p.at(SOURCE)));
    },
  },
  {
    leaf,
    id: 'write-without-read',
    title: 'W without R is #GP(0)',
    needs,
    run: (c) => gp(copy(c.probe(), 0x202)),
  },
];
