/** The checks that every ENCLU memory operand passes: in the ELRANGE, then the EPCM entry of its page. */
import { PFEC, PT_REG } from '@nestedsgx/arch';
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

/** The #PF error code of an operand with this fault. */
export function operandCode(fault: OperandFault, write: boolean): number {
  if (fault === 'not-epc') return write ? PF_ABSENT_WRITE : PF_ABSENT_READ;
  return write ? PF_ENCLAVE_WRITE : PF_ENCLAVE_READ;
}
