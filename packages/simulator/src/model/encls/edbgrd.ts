/** EDBGRD. Intel SDM Vol. 3D, "EDBGRD—Read From a Debug Enclave", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, PT } from '../model.js';
import { failed, GP, type Outcome, pf, value } from '../outcome.js';

/** SGX_TCS_LIMIT: bytes of a TCS that a debugger may see. */
const TCS_LIMIT = 72;

export function edbgrd(m: Model, rcx: number): Outcome {
  if (!aligned(rcx, 8)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return pf(rcx);
  if (entry.type !== PT.REG && entry.type !== PT.TCS && entry.type !== PT.VA) return pf(rcx);
  if (entry.pending || entry.modified) return failed('SGX_PAGE_NOT_DEBUGGABLE');
  const at = rcx % PAGE;
  if (entry.type === PT.TCS && at >= TCS_LIMIT) return GP;
  if (entry.type === PT.VA) return value(entry.slots![at / 8] ? 0xffff_ffff_ffff_ffffn : 0n);
  if ((entry.enclave!.flags & FLAG.DEBUG) === 0) return GP;
  // TCS.STATE, which the manual leaves to the processor: 1 while the TCS is busy.
  if (entry.type === PT.TCS && at === 0) return value(entry.inside === 0 ? 0n : 1n);
  return value(new DataView(entry.content!.buffer, entry.content!.byteOffset).getBigUint64(at, true));
}
