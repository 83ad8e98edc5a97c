/** ENCLS[EEXTEND]. Source: Intel SDM Vol. 3D, "EEXTEND—Extend Uninitialized Enclave Measurement by 256 Bytes", Operation. */
import { PT_REG, PT_TCS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** EEXTEND's checks, in the manual's order. */
export const EEXTEND_CHECKS = checkList('EEXTEND', [
  ['secs-aligned', '#GP(0)', 'the SECS (RBX) is 4096-byte aligned'],
  ['secs-in-epc', '#PF', 'RBX resolves to an EPC page'],
  ['secs-owned', 'REFUSED', 'the SECS belongs to the caller', 'deviation'],
  ['chunk-aligned', '#GP(0)', 'the chunk (RCX) is 256-byte aligned'],
  ['chunk-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['chunk-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['page-type', '#PF', 'EPCM(RCX).PT is PT_REG or PT_TCS'],
  ['secs-matches', '#GP(0)', 'RBX is the SECS of the page'],
  ['not-initialized', '#GP(0)', 'the enclave is not initialized'],
] as const);

/** RBX = SECS, RCX = 256-byte chunk of an EPC page. */
export function eextend(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EEXTEND_CHECKS;
  if (rbx % 4096 !== 0) return trip(C, 'secs-aligned');
  const secsFrame = s.frames.resolve(owner, rbx);
  if (secsFrame === NOT_EPC) return trip(C, 'secs-in-epc', rbx, PF_ACCESS);
  if (secsFrame === FOREIGN) return trip(C, 'secs-owned');
  if (rcx % 256 !== 0) return trip(C, 'chunk-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'chunk-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'chunk-owned');
  const refused = eextendCheckPage(s, frame, rcx, secsFrame);
  if (refused !== null) return refused;
  const enclave = s.enclaves.get(secsFrame)!;
  const offset = s.epcm.address(frame) - enclave.base + (rcx % 4096);
  enclave.measurement.eextend(BigInt(offset), enclave.memory.read(offset, 256));
  return DONE;
}

/** EEXTEND's checks of the EPCM entry and the enclave. */
export function eextendCheckPage(
  s: MonitorState,
  frame: number,
  rcx: number,
  secsFrame: number,
): LeafOutcome | null {
  const C = EEXTEND_CHECKS;
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', rcx);
  const type = s.epcm.type(frame);
  if (type !== PT_REG && type !== PT_TCS) return trip(C, 'page-type', rcx);
  if (s.epcm.secs(frame) !== secsFrame) return trip(C, 'secs-matches');
  if (s.enclaves.get(secsFrame)!.initialized) return trip(C, 'not-initialized');
  return null;
}
