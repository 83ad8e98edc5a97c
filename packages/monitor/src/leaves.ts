/** The frozen table of leaf functions: adding a leaf is one file and one row here. */
import { ENCLS, ENCLU } from '@nestedsgx/arch';
import { EADD_CHECKS, eadd } from './encls/eadd.js';
import { EAUG_CHECKS, eaug } from './encls/eaug.js';
import { ECREATE_CHECKS, ecreate } from './encls/ecreate.js';
import { EEXTEND_CHECKS, eextend } from './encls/eextend.js';
import { EINIT_CHECKS, einit } from './encls/einit.js';
import { EMODPR_CHECKS, emodpr } from './encls/emodpr.js';
import { EMODT_CHECKS, emodt } from './encls/emodt.js';
import { EREMOVE_CHECKS, eremove } from './encls/eremove.js';
import { EACCEPT_CHECKS, eaccept } from './enclu/eaccept.js';
import { EACCEPT_RANGE_CHECKS, eacceptRange } from './enclu/eaccept-range.js';
import { EACCEPTCOPY_CHECKS, eacceptcopy } from './enclu/eacceptcopy.js';
import { EDECCSSA_CHECKS } from './enclu/edeccssa.js';
import { EENTER_CHECKS } from './enclu/eenter.js';
import { EEXIT_CHECKS } from './enclu/eexit.js';
import { EGETKEY_CHECKS, egetkey } from './enclu/egetkey.js';
import { EMODPE_CHECKS, emodpe } from './enclu/emodpe.js';
import { EREPORT_CHECKS, ereport } from './enclu/ereport.js';
import { ERESUME_CHECKS } from './enclu/eresume.js';
import { EVERIFYREPORT2_CHECKS, everifyreport2 } from './enclu/everifyreport2.js';
import type { CheckList, LeafOutcome } from './leaf/checks.js';
import { PAGING_LEAVES } from './paging-leaves.js';
import type { CallPort } from './ports.js';
import type { EnclaveRecord } from './state/enclave.js';
import type { FrameOwner, MonitorState } from './state/state.js';

/** An ENCLS leaf: executed for a guest, operands are gPAs in RBX, RCX, RDX. `call` has them in full, as RCX, RDX, R8. */
export type EnclsLeaf = (
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
  call: Pick<CallPort, 'big'>,
) => LeafOutcome;

/** An ENCLU leaf that the monitor executes for an enclave thread: operands are linear addresses. */
export type EncluLeaf = (
  s: MonitorState,
  enclave: EnclaveRecord,
  rbx: number,
  rcx: number,
  rdx: number,
) => LeafOutcome;

interface LeafRowBase {
  readonly number: number;
  readonly name: string;
  /** Operands in RBX, RCX, RDX as the manual's encoding table names them. */
  readonly operands: string;
  /** Section of the manual whose pseudo-code the file follows. */
  readonly section: string;
  /** What is supported, and by whom it is executed. */
  readonly support: string;
  readonly checks: CheckList;
}

/** A row of ENCLS. */
export interface EnclsRow extends LeafRowBase {
  readonly execute: EnclsLeaf;
}

/** A row of ENCLU; `execute` is null where the processor executes the leaf itself. */
export interface EncluRow extends LeafRowBase {
  readonly execute: EncluLeaf | null;
}

/** Conditions of concurrency hold by construction: one thread executes all leaves, one after the other. */
const SERIAL = 'no other leaf can be under way on the page, so its concurrency checks hold by construction';
const SDM = 'SDM Vol. 3D, 41.3';
const SDM_U = 'SDM Vol. 3D, 41.4';

/** ENCLS leaves that exist; any other number is an unsupported leaf. */
export const ENCLS_LEAVES: readonly EnclsRow[] = freeze([
  ...PAGING_LEAVES,
  {
    number: ENCLS.ECREATE,
    name: 'ECREATE',
    operands: 'RBX = PAGEINFO, RCX = SECS page',
    section: `${SDM}, ECREATE`,
    support: `complete; CET must be off; ${SERIAL}`,
    checks: ECREATE_CHECKS,
    execute: ecreate,
  },
  {
    number: ENCLS.EADD,
    name: 'EADD',
    operands: 'RBX = PAGEINFO, RCX = EPC page',
    section: `${SDM}, EADD`,
    support: `PT_REG and PT_TCS; one frame for each linear address; ${SERIAL}`,
    checks: EADD_CHECKS,
    execute: eadd,
  },
  {
    number: ENCLS.EINIT,
    name: 'EINIT',
    operands: 'RBX = SIGSTRUCT, RCX = SECS, RDX = EINITTOKEN',
    section: `${SDM}, EINIT`,
    support: `complete; flexible launch, signers can be pinned; never interrupted, so no SGX_UNMASKED_EVENT; ${SERIAL}`,
    checks: EINIT_CHECKS,
    execute: einit,
  },
  {
    number: ENCLS.EREMOVE,
    name: 'EREMOVE',
    operands: 'RCX = EPC page',
    section: `${SDM}, EREMOVE`,
    support: `complete; the page is scrubbed; ${SERIAL}`,
    checks: EREMOVE_CHECKS,
    execute: eremove,
  },
  {
    number: ENCLS.EEXTEND,
    name: 'EEXTEND',
    operands: 'RBX = SECS, RCX = 256-byte chunk of an EPC page',
    section: `${SDM}, EEXTEND`,
    support: `complete; ${SERIAL}`,
    checks: EEXTEND_CHECKS,
    execute: eextend,
  },
  {
    number: ENCLS.EAUG,
    name: 'EAUG',
    operands: 'RBX = PAGEINFO, RCX = EPC page',
    section: `${SDM}, EAUG`,
    support: `regular pages; CET is not offered, so no shadow-stack pages and no SECINFO; ${SERIAL}`,
    checks: EAUG_CHECKS,
    execute: eaug,
  },
  {
    number: ENCLS.EMODPR,
    name: 'EMODPR',
    operands: 'RBX = SECINFO, RCX = EPC page',
    section: `${SDM}, EMODPR`,
    support: `complete; no thread has a right that was taken away when the leaf ends; ${SERIAL}`,
    checks: EMODPR_CHECKS,
    execute: emodpr,
  },
  {
    number: ENCLS.EMODT,
    name: 'EMODT',
    operands: 'RBX = SECINFO, RCX = EPC page',
    section: `${SDM}, EMODT`,
    support: `complete; ${SERIAL}`,
    checks: EMODT_CHECKS,
    execute: emodt,
  },
]);

/** ENCLU leaves that exist. */
export const ENCLU_LEAVES: readonly EncluRow[] = freeze([
  {
    number: ENCLU.EREPORT,
    name: 'EREPORT',
    operands: 'RBX = TARGETINFO, RCX = REPORTDATA, RDX = OUTPUTDATA',
    section: `${SDM_U}, EREPORT`,
    support: 'complete; CET is not offered, so its fields must be 0',
    checks: EREPORT_CHECKS,
    execute: ereport,
  },
  {
    number: ENCLU.EGETKEY,
    name: 'EGETKEY',
    operands: 'RBX = KEYREQUEST, RCX = OUTPUTDATA',
    section: `${SDM_U}, EGETKEY`,
    support:
      'all five keys; PADDING is the same for every valid signature and left out; CONFIGSVN beyond the enclave is refused for the provisioning seal key too',
    checks: EGETKEY_CHECKS,
    execute: (s, enclave, rbx, rcx) => egetkey(s, enclave, rbx, rcx),
  },
  {
    number: ENCLU.EENTER,
    name: 'EENTER',
    operands: 'RBX = TCS, RCX = AEP',
    section: `${SDM_U}, EENTER`,
    support: `executed by the processor; SECS, TCS and SSA are checked here when a thread is admitted; at most 64 SSA frames count; ${SERIAL}`,
    checks: EENTER_CHECKS,
    execute: null,
  },
  {
    number: ENCLU.ERESUME,
    name: 'ERESUME',
    operands: 'RBX = TCS, RCX = AEP',
    section: `${SDM_U}, ERESUME`,
    support: `executed by the processor; SECS, TCS and SSA are checked here when a thread is admitted; ${SERIAL}`,
    checks: ERESUME_CHECKS,
    execute: null,
  },
  {
    number: ENCLU.EEXIT,
    name: 'EEXIT',
    operands: 'RBX = target outside the enclave',
    section: `${SDM_U}, EEXIT`,
    support: 'executed by the processor',
    checks: EEXIT_CHECKS,
    execute: null,
  },
  {
    number: ENCLU.EACCEPT,
    name: 'EACCEPT',
    operands: 'RBX = SECINFO, RCX = EPC page',
    section: `${SDM_U}, EACCEPT`,
    support: `complete; an accepted TCS beyond the bound gates waits for a free one; ${SERIAL}`,
    checks: EACCEPT_CHECKS,
    execute: eaccept,
  },
  {
    number: ENCLU.EACCEPT_RANGE,
    name: 'EACCEPT_RANGE',
    operands: 'RBX = SECINFO, RCX = first page, RDX = number of pages',
    section: 'of this machine alone',
    support: `EACCEPT of up to 1024 pages that are new, restricted or trimmed, all or none; ${SERIAL}`,
    checks: EACCEPT_RANGE_CHECKS,
    execute: eacceptRange,
  },
  {
    number: ENCLU.EMODPE,
    name: 'EMODPE',
    operands: 'RBX = SECINFO, RCX = EPC page',
    section: `${SDM_U}, EMODPE`,
    support: `complete; ${SERIAL}`,
    checks: EMODPE_CHECKS,
    execute: emodpe,
  },
  {
    number: ENCLU.EACCEPTCOPY,
    name: 'EACCEPTCOPY',
    operands: 'RBX = SECINFO, RCX = destination EPC page, RDX = source EPC page',
    section: `${SDM_U}, EACCEPTCOPY`,
    support: `complete; a pending page is always RW, so looking twice gives nothing new; ${SERIAL}`,
    checks: EACCEPTCOPY_CHECKS,
    execute: eacceptcopy,
  },
  {
    number: ENCLU.EVERIFYREPORT2,
    name: 'EVERIFYREPORT2',
    operands: 'RBX = REPORTMACSTRUCT',
    section: `${SDM_U}, EVERIFYREPORT2`,
    support: 'not enumerated, as on every processor without TDX: #GP(0)',
    checks: EVERIFYREPORT2_CHECKS,
    execute: everifyreport2,
  },
  {
    number: ENCLU.EDECCSSA,
    name: 'EDECCSSA',
    operands: 'none',
    section: `${SDM_U}, EDECCSSA`,
    support: 'executed by the processor; SSA pages are checked here when a thread is admitted',
    checks: EDECCSSA_CHECKS,
    execute: null,
  },
]);

function freeze<T extends object>(rows: T[]): readonly T[] {
  for (const row of rows) Object.freeze(row);
  return Object.freeze(rows);
}

const byEncls = new Map(ENCLS_LEAVES.map((row) => [row.number, row]));
const byEnclu = new Map(ENCLU_LEAVES.map((row) => [row.number, row]));

/** The row of an ENCLS leaf, or undefined. */
export function enclsLeaf(number: number): EnclsRow | undefined {
  return byEncls.get(number);
}

/** The row of an ENCLU leaf, or undefined. */
export function encluLeaf(number: number): EncluRow | undefined {
  return byEnclu.get(number);
}
