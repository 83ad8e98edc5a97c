/** EEXTEND. Intel SDM Vol. 3D, "EEXTEND—Extend Uninitialized Enclave Measurement by 256 Bytes", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, mix, mixNumbers, PT } from '../model.js';
import { GP, OK, type Outcome, pf } from '../outcome.js';

export function eextend(m: Model, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, PAGE)) return GP;
  let bad = m.notMine(rbx);
  if (bad) return bad;
  if (!aligned(rcx, 256)) return GP;
  bad = m.notMine(rcx);
  if (bad) return bad;
  const entry = m.epcm(rcx);
  if (!entry.valid) return pf(rcx);
  if (entry.type !== PT.REG && entry.type !== PT.TCS) return pf(rcx);
  const enclave = entry.enclave!;
  if (m.frameOf(rbx) !== enclave.frame) return GP;
  if (enclave.initialized) return GP;
  const at = rcx % PAGE;
  enclave.measurement = mix(
    mixNumbers(enclave.measurement, 3, entry.address - enclave.base + at),
    entry.content!,
    at,
    at + 256,
  );
  return OK;
}
