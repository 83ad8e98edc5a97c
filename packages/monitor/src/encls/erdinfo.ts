/** ENCLS[ERDINFO]. Source: Intel SDM Vol. 3D, "ERDINFO—Read Type and Status Information About an EPC Page", Operation. */
import { PT_SECS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { isChildType } from '../paging/load-run.js';
import { EVICTED_BITS } from '../paging/pcmd.js';
import { EPCM_BLOCKED } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { type FrameOwner, type MonitorState, writeGuest } from '../state/state.js';

/** ERDINFO's checks, in the manual's order. */
export const ERDINFO_CHECKS = checkList('ERDINFO', [
  ['rdinfo-aligned', '#GP(0)', 'RDINFO (RBX) is 32-byte aligned'],
  ['page-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['page-in-epc', 'SGX_PG_NONEPC', 'RCX resolves within the EPC', 'carry'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', 'SGX_PG_INVLD', 'EPCM(RCX).VALID = 1', 'carry'],
  ['rdinfo-writable', '#PF', 'RDINFO can be written'],
] as const);

/** Bytes of RDINFO: STATUS, FLAGS, ENCLAVECONTEXT. */
const RDINFO_SIZE = 24;
/** RDINFO.STATUS.CHILDPRESENT. */
const CHILDPRESENT = 1;
/** RDINFO.FLAGS.BLOCKED is bit 63. */
const BLOCKED = 1 << 31;

/** RBX = RDINFO, RCX = EPC page. ENCLAVECONTEXT is the gPA of the SECS. */
export function erdinfo(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = ERDINFO_CHECKS;
  if (rbx % 32 !== 0) return trip(C, 'rdinfo-aligned');
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc');
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid');
  const bits = s.epcm.bits(frame);
  const type = s.epcm.type(frame);
  const info = new Uint8Array(RDINFO_SIZE);
  const view = new DataView(info.buffer);
  view.setUint32(8, bits & EVICTED_BITS, true);
  if ((bits & EPCM_BLOCKED) !== 0) view.setUint32(12, BLOCKED, true);
  if (type === PT_SECS && s.enclaves.get(frame)!.children !== 0) view.setUint32(0, CHILDPRESENT, true);
  const secs = isChildType(type) ? s.epcm.secs(frame) : type === PT_SECS ? frame : -1;
  if (secs >= 0) view.setBigUint64(16, BigInt(s.frames.gpa(secs)), true);
  return writeGuest(s, rbx, info) ? DONE : trip(C, 'rdinfo-writable', rbx, PF_ACCESS);
}
