/** ENCLS[EDBGWR]. Source: Intel SDM Vol. 3D, "EDBGWR—Write to a Debug Enclave", Operation. */
import { ATTRIBUTES_DEBUG, PT_REG, PT_TCS, TCS, writeU64 } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import type { CallPort } from '../ports.js';
import { available } from '../state/available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from '../state/enclave.js';
import { EPCM_MODIFIED, EPCM_PENDING, EPCM_X } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { installMapping } from '../state/mapping.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { holdTcs, rebindTcs } from '../state/threads.js';

/** EDBGWR's checks, in the manual's order. */
export const EDBGWR_CHECKS = checkList('EDBGWR', [
  ['address-aligned', '#GP(0)', 'RCX is 8-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['page-type', '#PF', 'EPCM(RCX).PT is PT_REG or PT_TCS'],
  ['page-settled', 'SGX_PAGE_NOT_DEBUGGABLE', 'EPCM(RCX).PENDING = 0 and MODIFIED = 0'],
  ['tcs-flags', '#GP(0)', 'PT_TCS: RCX is the address of FLAGS'],
  ['debug', '#GP(0)', 'the enclave has ATTRIBUTES.DEBUG'],
  ['tcs-idle', 'REFUSED', 'PT_TCS: its thread is not inside (the processor holds a copy)', 'deviation'],
  ['memory-available', 'REFUSED', 'the machine has memory to back the page', 'deviation'],
] as const);

/** RBX = eight bytes, RCX = EPC address. `call` has RBX in full. */
export function edbgwr(
  s: MonitorState,
  owner: FrameOwner,
  _rbx: number,
  rcx: number,
  _rdx: number,
  call: Pick<CallPort, 'big'>,
): LeafOutcome {
  const C = EDBGWR_CHECKS;
  if (rcx % 8 !== 0) return trip(C, 'address-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', rcx);
  const type = s.epcm.type(frame);
  if (type !== PT_REG && type !== PT_TCS) return trip(C, 'page-type', rcx);
  if ((s.epcm.bits(frame) & (EPCM_PENDING | EPCM_MODIFIED)) !== 0) return trip(C, 'page-settled');
  const at = rcx % 4096;
  if (type === PT_TCS && at !== TCS.offsets.FLAGS) return trip(C, 'tcs-flags');
  const enclave = s.enclaves.get(s.epcm.secs(frame))!;
  if ((enclave.flags & ATTRIBUTES_DEBUG) === 0n) return trip(C, 'debug');
  if (type === PT_TCS && !holdTcs(enclave, frame)) return trip(C, 'tcs-idle');
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, call.big('rcx'));
  const offset = s.epcm.address(frame) - enclave.base;
  const written = available(() => enclave.memory.write(offset + at, bytes), s.failures);
  if (type === PT_TCS) rebindTcs(s, enclave, frame);
  if (!written) return trip(C, 'memory-available');
  if ((s.epcm.mapped(frame) & EPCM_X) !== 0) remapCode(s, enclave, frame, offset);
  return DONE;
}

/**
 * Threads see a written page at once, but executable pages may have been patched, and then a copy is what is mapped. The
 * page is taken away and given back, which makes the processor look at its contents anew; a write-protect cycle would not.
 */
function remapCode(s: MonitorState, enclave: EnclaveRecord, frame: number, offset: number): void {
  const { running } = enclave;
  if (running === null || running.lost !== null) return;
  const taken = available(() => running.unmap(offset, 4096), s.failures);
  if (taken) s.epcm.setMapped(frame, 0);
  if (!taken || !installMapping(s, enclave, frame))
    loseEnclave(enclave, 'a page could not be given back', LOST_REASON.RUNNER);
}
