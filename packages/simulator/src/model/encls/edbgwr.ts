/** EDBGWR. Intel SDM Vol. 3D, "EDBGWR—Write to a Debug Enclave", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, PT } from '../model.js';
import { failed, GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';

/** Offset of TCS.FLAGS, the only field a debugger may write. */
const TCS_FLAGS = 8;

export function edbgwr(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rcx, 8)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return pf(rcx);
  if (entry.type !== PT.REG && entry.type !== PT.TCS) return pf(rcx);
  if (entry.pending || entry.modified) return failed('SGX_PAGE_NOT_DEBUGGABLE');
  const at = rcx % PAGE;
  if (entry.type === PT.TCS && at !== TCS_FLAGS) return GP;
  if ((entry.enclave!.flags & FLAG.DEBUG) === 0) return GP;
  if (entry.type === PT.TCS && entry.inside !== 0 && m.p.busyTcsRefused) return REFUSED;
  new DataView(entry.content!.buffer, entry.content!.byteOffset).setBigUint64(at, BigInt(rbx), true);
  return OK;
}
