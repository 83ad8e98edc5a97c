/** ERDINFO. Intel SDM Vol. 3D, "ERDINFO—Read Type and Status Information About an EPC Page", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, PT } from '../model.js';
import { GP, informed, OK, type Outcome, pf, REFUSED } from '../outcome.js';

/** STATUS, FLAGS, ENCLAVECONTEXT. */
const RDINFO = 24;

export function erdinfo(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 32) || !aligned(rcx, PAGE)) return GP;
  const bad = m.notMine(rcx);
  if (bad === REFUSED) return bad;
  if (bad) return informed('SGX_PG_NONEPC');
  const entry = m.epcm(rcx);
  if (!entry.valid) return informed('SGX_PG_INVLD');
  if (!m.mayAccess(rbx, RDINFO, true)) return pf(rbx);
  const out = new Uint8Array(RDINFO);
  const view = new DataView(out.buffer);
  if (entry.type === PT.SECS && m.children(entry.enclave!) > 0) out[0] = 1;
  const bits = [entry.r, entry.w, entry.x, entry.pending, entry.modified, entry.pr];
  bits.forEach((on, i) => {
    if (on) out[8] |= 1 << i;
  });
  out[9] = entry.type;
  // RDINFO.FLAGS.BLOCKED is bit 63.
  if (entry.blocked) out[15] = 0x80;
  // ENCLAVECONTEXT is what software made of the SECS's address: here its gPA.
  if (entry.enclave !== null) view.setBigUint64(16, BigInt(m.contextOf(entry.enclave)), true);
  m.writes.push({ gpa: rbx, length: RDINFO, bytes: out });
  return OK;
}
