/** ENCLS[EDBGRD]. Source: Intel SDM Vol. 3D, "EDBGRD—Read From a Debug Enclave", Operation. */
import { ATTRIBUTES_DEBUG, PT_REG, PT_TCS, PT_VA, readU64, writeU64 } from '@nestedsgx/arch';
import { checkList, doneWith, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_MODIFIED, EPCM_PENDING } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { composeTcs, slotOf } from '../state/threads.js';

/** EDBGRD's checks, in the manual's order. */
export const EDBGRD_CHECKS = checkList('EDBGRD', [
  ['address-aligned', '#GP(0)', 'RCX is 8-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['page-type', '#PF', 'EPCM(RCX).PT is PT_REG, PT_TCS or PT_VA'],
  ['page-settled', 'SGX_PAGE_NOT_DEBUGGABLE', 'EPCM(RCX).PENDING = 0 and MODIFIED = 0'],
  ['inside-tcs', '#GP(0)', 'PT_TCS: the offset is below SGX_TCS_LIMIT'],
  ['debug', '#GP(0)', 'PT_REG, PT_TCS: the enclave has ATTRIBUTES.DEBUG'],
] as const);

/** Bytes of the TCS that have a meaning. */
const SGX_TCS_LIMIT = 72;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** RCX = EPC address; RBX := eight bytes, or for a version slot whether it is occupied. */
export function edbgrd(s: MonitorState, owner: FrameOwner, _rbx: number, rcx: number): LeafOutcome {
  const C = EDBGRD_CHECKS;
  if (rcx % 8 !== 0) return trip(C, 'address-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', rcx);
  const type = s.epcm.type(frame);
  if (type !== PT_REG && type !== PT_TCS && type !== PT_VA) return trip(C, 'page-type', rcx);
  if ((s.epcm.bits(frame) & (EPCM_PENDING | EPCM_MODIFIED)) !== 0) return trip(C, 'page-settled');
  const at = rcx % 4096;
  if (type === PT_VA) return doneWith(s.versions.get(frame, at / 8) === 0 ? 0n : ALL_ONES);
  if (type === PT_TCS && at >= SGX_TCS_LIMIT) return trip(C, 'inside-tcs');
  const enclave = s.enclaves.get(s.epcm.secs(frame))!;
  if ((enclave.flags & ATTRIBUTES_DEBUG) === 0n) return trip(C, 'debug');
  const offset = s.epcm.address(frame) - enclave.base;
  const bytes = type === PT_TCS ? tcsNow(enclave, frame, offset) : enclave.memory.read(offset + at, 8);
  return doneWith(readU64(bytes, type === PT_TCS ? at : 0));
}

/** The TCS with what only the processor knows: STATE and CSSA. */
function tcsNow(enclave: EnclaveRecord, frame: number, offset: number): Uint8Array {
  const tcs = enclave.memory.read(offset, SGX_TCS_LIMIT);
  composeTcs(enclave, frame, tcs);
  const slot = slotOf(enclave, frame);
  const { running } = enclave;
  const busy =
    running !== null && running.lost === null && slot >= 0 && running.threadState(slot).state !== 0;
  writeU64(tcs, 0, busy ? 1n : 0n);
  return tcs;
}
