/** The checks that every ENCLU memory operand passes: in the ELRANGE, then the EPCM entry of its page. */
import { PFEC, PT_REG, SECINFO } from '@nestedsgx/arch';
import { type CheckList, type LeafOutcome, trip } from '../leaf/checks.js';
import { secinfoFlags, secinfoReservedZero } from '../leaf/secinfo.js';
import type { EnclaveRecord } from '../state/enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PT_SHIFT,
  EPCM_R,
  EPCM_VALID,
  EPCM_W,
  NO_FRAME,
} from '../state/epcm.js';
import type { MonitorState } from '../state/state.js';

/** #PF error codes of enclave operands that the EPCM refuses: user mode, SGX; for a write also W. */
export const PF_ENCLAVE_READ = PFEC.SGX | PFEC.U | PFEC.P;
export const PF_ENCLAVE_WRITE = PF_ENCLAVE_READ | PFEC.W;
/** #PF error codes of operands where there is no page: the guest can bring one, so neither P nor SGX. */
export const PF_ABSENT_READ = PFEC.U;
export const PF_ABSENT_WRITE = PFEC.U | PFEC.W;

/** What is wrong with an operand's page. */
export type OperandFault = 'not-epc' | 'invalid' | 'blocked' | 'parameters';

/** True when the operand (an offset from BASEADDR) lies in the ELRANGE and is aligned. */
export function inElrange(enclave: EnclaveRecord, offset: number, alignment: number): boolean {
  return offset >= 0 && offset < enclave.size && offset % alignment === 0;
}

/** The first EPCM check that the page at `offset` fails for an access by this enclave, or null. */
export function operandFault(
  s: MonitorState,
  enclave: EnclaveRecord,
  offset: number,
  write: boolean,
): OperandFault | null {
  const page = offset - (offset % 4096);
  const frame = enclave.pages.get(page / 4096);
  if (frame === NO_FRAME) return 'not-epc';
  const bits = s.epcm.bits(frame);
  if ((bits & EPCM_VALID) === 0) return 'invalid';
  if ((bits & EPCM_BLOCKED) !== 0) return 'blocked';
  const right =
    bits >>> EPCM_PT_SHIFT === PT_REG &&
    (bits & (EPCM_PENDING | EPCM_MODIFIED)) === 0 &&
    (bits & (write ? EPCM_W : EPCM_R)) !== 0 &&
    s.epcm.secs(frame) === enclave.secsFrame &&
    s.epcm.address(frame) === enclave.base + page;
  return right ? null : 'parameters';
}

/** Rows of a check list that begins with a SECINFO. */
export const SECINFO_ROWS = [
  ['secinfo-aligned', '#GP(0)', 'SECINFO (RBX) is 64-byte aligned'],
  ['secinfo-in-elrange', '#GP(0)', 'RBX lies in the ELRANGE'],
  ['secinfo-in-epc', '#PF', 'RBX resolves within the EPC'],
  ['secinfo-page', '#PF', 'EPCM(RBX) is a settled, readable PT_REG page of this enclave, not blocked'],
  ['secinfo-reserved-zero', '#GP(0)', 'reserved fields of SECINFO are 0'],
] as const;

/** SECINFO.FLAGS at RBX, after the checks of {@link SECINFO_ROWS}; or what it is refused with. */
export function secinfoOperand(
  checks: CheckList<(typeof SECINFO_ROWS)[number][0]>,
  s: MonitorState,
  enclave: EnclaveRecord,
  rbx: number,
): number | LeafOutcome {
  const from = rbx - enclave.base;
  if (rbx % 64 !== 0) return trip(checks, 'secinfo-aligned');
  if (!inElrange(enclave, from, 64)) return trip(checks, 'secinfo-in-elrange');
  const bad = operandFault(s, enclave, from, false);
  if (bad !== null)
    return trip(checks, bad === 'not-epc' ? 'secinfo-in-epc' : 'secinfo-page', rbx, operandCode(bad, false));
  const secinfo = enclave.memory.read(from, SECINFO.size);
  return secinfoReservedZero(secinfo) ? secinfoFlags(secinfo) : trip(checks, 'secinfo-reserved-zero');
}

/**
 * What an operand is refused with, or null: it must be placed, and then its page right. `suffix` says what the check list
 * calls each fault, behind the operand's name.
 */
export function refusedOperand<N extends string, S extends string>(
  checks: CheckList<NoInfer<`${N}-placed` | `${N}-${S}`>>,
  suffix: Readonly<Record<OperandFault, S>>,
  s: MonitorState,
  enclave: EnclaveRecord,
  operand: { readonly name: N; readonly at: number; readonly alignment: number; readonly write: boolean },
): LeafOutcome | null {
  const { name, at, alignment, write } = operand;
  const offset = at - enclave.base;
  if (!inElrange(enclave, offset, alignment)) return trip(checks, `${name}-placed`);
  const bad = operandFault(s, enclave, offset, write);
  return bad === null ? null : trip(checks, `${name}-${suffix[bad]}`, at, operandCode(bad, write));
}

/** The #PF error code of an operand with this fault. */
export function operandCode(fault: OperandFault, write: boolean): number {
  if (fault === 'not-epc') return write ? PF_ABSENT_WRITE : PF_ABSENT_READ;
  return write ? PF_ENCLAVE_WRITE : PF_ENCLAVE_READ;
}
