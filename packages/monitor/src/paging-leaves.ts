/** Rows of the ENCLS leaves of paging, tracking, debugging and information; leaves.ts has the whole table. */
import { ENCLS } from '@nestedsgx/arch';
import { EBLOCK_CHECKS, eblock } from './encls/eblock.js';
import { EDBGRD_CHECKS, edbgrd } from './encls/edbgrd.js';
import { EDBGWR_CHECKS, edbgwr } from './encls/edbgwr.js';
import { ELDB_CHECKS, eldb } from './encls/eldb.js';
import { ELDBC_CHECKS, eldbc } from './encls/eldbc.js';
import { ELDU_CHECKS, eldu } from './encls/eldu.js';
import { ELDUC_CHECKS, elduc } from './encls/elduc.js';
import { EPA_CHECKS, epa } from './encls/epa.js';
import { ERDINFO_CHECKS, erdinfo } from './encls/erdinfo.js';
import { ETRACK_CHECKS, etrack } from './encls/etrack.js';
import { ETRACKC_CHECKS, etrackc } from './encls/etrackc.js';
import { EUPDATESVN_CHECKS, eupdatesvn } from './encls/eupdatesvn.js';
import { EWB_CHECKS, ewb } from './encls/ewb.js';
import type { EnclsRow } from './leaves.js';

const SDM = 'SDM Vol. 3D, 41.3';
const SERIAL = 'its concurrency checks hold by construction, as one thread executes all leaves';

/** Paging, tracking, debugging, information. */
export const PAGING_LEAVES: readonly EnclsRow[] = [
  {
    number: ENCLS.EDBGRD,
    name: 'EDBGRD',
    operands: 'RCX = EPC address; RBX := data',
    section: `${SDM}, EDBGRD`,
    support: `64-bit mode; STATE and CSSA of a TCS are the processor's; ${SERIAL}`,
    checks: EDBGRD_CHECKS,
    execute: edbgrd,
  },
  {
    number: ENCLS.EDBGWR,
    name: 'EDBGWR',
    operands: 'RBX = data, RCX = EPC address',
    section: `${SDM}, EDBGWR`,
    support: `64-bit mode; FLAGS of a TCS while its thread is outside; ${SERIAL}`,
    checks: EDBGWR_CHECKS,
    execute: edbgwr,
  },
  {
    number: ENCLS.ELDB,
    name: 'ELDB',
    operands: 'RBX = PAGEINFO, RCX = EPC page, RDX = version slot',
    section: `${SDM}, ELDB`,
    support: `complete; one frame for each linear address; ${SERIAL}`,
    checks: ELDB_CHECKS,
    execute: eldb,
  },
  {
    number: ENCLS.ELDU,
    name: 'ELDU',
    operands: 'RBX = PAGEINFO, RCX = EPC page, RDX = version slot',
    section: `${SDM}, ELDU`,
    support: `complete; one frame for each linear address; ${SERIAL}`,
    checks: ELDU_CHECKS,
    execute: eldu,
  },
  {
    number: ENCLS.EBLOCK,
    name: 'EBLOCK',
    operands: 'RCX = EPC page',
    section: `${SDM}, EBLOCK`,
    support: `complete; never SGX_EPC_PAGE_CONFLICT or SGX_ENTRYEPOCH_LOCKED: ${SERIAL}`,
    checks: EBLOCK_CHECKS,
    execute: eblock,
  },
  {
    number: ENCLS.EPA,
    name: 'EPA',
    operands: 'RBX = PT_VA, RCX = EPC page',
    section: `${SDM}, EPA`,
    support: `complete; ${SERIAL}`,
    checks: EPA_CHECKS,
    execute: epa,
  },
  {
    number: ENCLS.EWB,
    name: 'EWB',
    operands: 'RBX = PAGEINFO, RCX = EPC page, RDX = version slot',
    section: `${SDM}, EWB`,
    support: `complete; EBLOCK is always correct, and ${SERIAL}`,
    checks: EWB_CHECKS,
    execute: ewb,
  },
  {
    number: ENCLS.ETRACK,
    name: 'ETRACK',
    operands: 'RCX = SECS',
    section: `${SDM}, ETRACK`,
    support: `complete; ${SERIAL}`,
    checks: ETRACK_CHECKS,
    execute: etrack,
  },
  {
    number: ENCLS.ERDINFO,
    name: 'ERDINFO',
    operands: 'RBX = RDINFO, RCX = EPC page',
    section: `${SDM}, ERDINFO`,
    support: `complete; ENCLAVECONTEXT is the SECS's gPA, no virtual children; ${SERIAL}`,
    checks: ERDINFO_CHECKS,
    execute: erdinfo,
  },
  {
    number: ENCLS.ETRACKC,
    name: 'ETRACKC',
    operands: 'RCX = EPC page',
    section: `${SDM}, ETRACKC`,
    support: `complete; never SGX_EPC_PAGE_CONFLICT: ${SERIAL}`,
    checks: ETRACKC_CHECKS,
    execute: etrackc,
  },
  {
    number: ENCLS.ELDBC,
    name: 'ELDBC',
    operands: 'RBX = PAGEINFO, RCX = EPC page, RDX = version slot',
    section: `${SDM}, ELDBC`,
    support: `as ELDB; never SGX_EPC_PAGE_CONFLICT: ${SERIAL}`,
    checks: ELDBC_CHECKS,
    execute: eldbc,
  },
  {
    number: ENCLS.ELDUC,
    name: 'ELDUC',
    operands: 'RBX = PAGEINFO, RCX = EPC page, RDX = version slot',
    section: `${SDM}, ELDUC`,
    support: `as ELDU; never SGX_EPC_PAGE_CONFLICT: ${SERIAL}`,
    checks: ELDUC_CHECKS,
    execute: elduc,
  },
  {
    number: ENCLS.EUPDATESVN,
    name: 'EUPDATESVN',
    operands: 'none',
    section: 'Intel, Runtime Microcode Updates with Intel Software Guard Extensions',
    support: `new page keys; the SVN never rises, so SGX_NO_UPDATE; never SGX_LOCKFAIL: ${SERIAL}`,
    checks: EUPDATESVN_CHECKS,
    execute: eupdatesvn,
  },
];
