/** The frozen table of leaf functions: adding a leaf is one file and one row here. */
import { ENCLS, ENCLU } from '@nestedsgx/arch';
import { EADD_CHECKS, eadd } from './encls/eadd.js';
import { ECREATE_CHECKS, ecreate } from './encls/ecreate.js';
import { EEXTEND_CHECKS, eextend } from './encls/eextend.js';
import { EINIT_CHECKS, einit } from './encls/einit.js';
import { EREMOVE_CHECKS, eremove } from './encls/eremove.js';
import { EENTER_CHECKS } from './enclu/eenter.js';
import { EGETKEY_CHECKS, egetkey } from './enclu/egetkey.js';
import { EREPORT_CHECKS, ereport } from './enclu/ereport.js';
import type { CheckList, LeafOutcome } from './leaf/checks.js';
import type { EnclaveRecord } from './state/enclave.js';
import type { FrameOwner, MonitorState } from './state/state.js';

/** An ENCLS leaf: executed for a guest, operands are gPAs in RBX, RCX, RDX. */
export type EnclsLeaf = (
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
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

const NO_CHECKS: CheckList = Object.freeze({ leaf: '', rows: Object.freeze([]), at: Object.freeze({}) });
const SDM = 'SDM Vol. 3D, 41.3';
const SDM_U = 'SDM Vol. 3D, 41.4';

/** ENCLS leaves that exist; any other number is an unsupported leaf. */
export const ENCLS_LEAVES: readonly EnclsRow[] = freeze([
  {
    number: ENCLS.ECREATE,
    name: 'ECREATE',
    operands: 'RBX = PAGEINFO, RCX = SECS page',
    section: `${SDM}, ECREATE`,
    support: 'complete; CET must be off',
    checks: ECREATE_CHECKS,
    execute: ecreate,
  },
  {
    number: ENCLS.EADD,
    name: 'EADD',
    operands: 'RBX = PAGEINFO, RCX = EPC page',
    section: `${SDM}, EADD`,
    support: 'PT_REG and PT_TCS; one frame for each linear address',
    checks: EADD_CHECKS,
    execute: eadd,
  },
  {
    number: ENCLS.EINIT,
    name: 'EINIT',
    operands: 'RBX = SIGSTRUCT, RCX = SECS, RDX = EINITTOKEN',
    section: `${SDM}, EINIT`,
    support: 'complete; flexible launch, a signer can be pinned; no SGX_UNMASKED_EVENT',
    checks: EINIT_CHECKS,
    execute: einit,
  },
  {
    number: ENCLS.EREMOVE,
    name: 'EREMOVE',
    operands: 'RCX = EPC page',
    section: `${SDM}, EREMOVE`,
    support: 'complete; the page is scrubbed',
    checks: EREMOVE_CHECKS,
    execute: eremove,
  },
  {
    number: ENCLS.EEXTEND,
    name: 'EEXTEND',
    operands: 'RBX = SECS, RCX = 256-byte chunk of an EPC page',
    section: `${SDM}, EEXTEND`,
    support: 'complete',
    checks: EEXTEND_CHECKS,
    execute: eextend,
  },
]);

/** ENCLU leaves that exist. */
export const ENCLU_LEAVES: readonly EncluRow[] = freeze([
  {
    number: ENCLU.EREPORT,
    name: 'EREPORT',
    operands: 'RBX = TARGETINFO, RCX = REPORTDATA, RDX = OUTPUTDATA',
    section: `${SDM_U}, EREPORT`,
    support: 'complete; CET fields must be 0',
    checks: EREPORT_CHECKS,
    execute: ereport,
  },
  {
    number: ENCLU.EGETKEY,
    name: 'EGETKEY',
    operands: 'RBX = KEYREQUEST, RCX = OUTPUTDATA',
    section: `${SDM_U}, EGETKEY`,
    support: 'all five keys',
    checks: EGETKEY_CHECKS,
    execute: (s, enclave, rbx, rcx) => egetkey(s, enclave, rbx, rcx),
  },
  {
    number: ENCLU.EENTER,
    name: 'EENTER',
    operands: 'RBX = TCS, RCX = AEP',
    section: `${SDM_U}, EENTER`,
    support: 'executed by the processor; SECS, TCS and SSA are checked here when a thread is admitted',
    checks: EENTER_CHECKS,
    execute: null,
  },
  {
    number: ENCLU.ERESUME,
    name: 'ERESUME',
    operands: 'RBX = TCS, RCX = AEP',
    section: `${SDM_U}, ERESUME`,
    support: 'executed by the processor, admitted as EENTER',
    checks: EENTER_CHECKS,
    execute: null,
  },
  {
    number: ENCLU.EEXIT,
    name: 'EEXIT',
    operands: 'RBX = target outside the enclave',
    section: `${SDM_U}, EEXIT`,
    support: 'executed by the processor',
    checks: NO_CHECKS,
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
