/** EREPORT. Intel SDM Vol. 3D, "EREPORT—Create a Cryptographic Report of the Enclave", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, type Model, zero } from '../model.js';
import { GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

export function ereport(m: Model, enclave: Enclave, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, 512) || !inElrange(enclave, rbx)) return GP;
  const target = pageOf(m, enclave, rbx);
  if (!target || !settled(target) || !target.r) return pf(rbx);
  const info = target.content!.subarray(rbx % PAGE, (rbx % PAGE) + 512);
  // CET_ATTRIBUTES (48) is not offered; CONFIGSVN at 50, MISCSELECT at 52, CONFIGID at 64.
  if (!zero(info, 48, 50) || !zero(info, 56, 64) || !zero(info, 128, 512)) return GP;
  if (!aligned(rcx, 128) || !inElrange(enclave, rcx)) return GP;
  const data = pageOf(m, enclave, rcx);
  if (!data || !settled(data) || !data.r) return pf(rcx);
  if (!aligned(rdx, 512) || !inElrange(enclave, rdx)) return GP;
  const output = pageOf(m, enclave, rdx);
  if (!output || !settled(output) || !output.w) return pf(rdx);
  m.outputs.push({ entry: output, at: rdx % PAGE, length: 432 });
  return OK;
}
