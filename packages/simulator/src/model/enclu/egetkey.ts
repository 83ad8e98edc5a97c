/** EGETKEY. Intel SDM Vol. 3D, "EGETKEY—Retrieves a Cryptographic Key", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, type Model, u16, zero } from '../model.js';
import { failed, GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave } from '../state.js';
import { inElrange, pageOf, settled } from './operand.js';

const KEY = Object.freeze({ EINITTOKEN: 0, PROVISION: 1, PROVISION_SEAL: 2, REPORT: 3, SEAL: 4 });
/** CR_CPUSVN of this platform. */
const CPUSVN = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

export function egetkey(m: Model, enclave: Enclave, rbx: number, rcx: number): Outcome {
  if (!aligned(rbx, 512) || !inElrange(enclave, rbx)) return GP;
  const request = pageOf(m, enclave, rbx);
  if (!request || !settled(request) || !request.r) return pf(rbx);
  if (!aligned(rcx, 16) || !inElrange(enclave, rcx)) return GP;
  const output = pageOf(m, enclave, rcx);
  if (!output || !settled(output) || !output.w) return pf(rcx);
  const r = request.content!.subarray(rbx % PAGE, (rbx % PAGE) + 512);
  const name = u16(r, 0);
  const policy = u16(r, 2);
  const kss = (enclave.flags & FLAG.KSS) !== 0;
  // KEYNAME 0, KEYPOLICY 2, ISVSVN 4, CET mask 6, CPUSVN 8, ATTRIBUTEMASK 24, KEYID 40, MISCMASK 72, CONFIGSVN 76.
  if (!zero(r, 6, 8) || !zero(r, 78, 512) || (policy & ~0x3f) !== 0) return GP;
  if (!kss && ((policy & 0x3c) !== 0 || u16(r, 76) !== 0)) return GP;
  const refused = mayHave(enclave, name, r);
  if (refused) return refused;
  m.outputs.push({ entry: output, at: rcx % PAGE, length: 16 });
  return OK;
}

function mayHave(enclave: Enclave, name: number, r: Uint8Array): Outcome | null {
  switch (name) {
    case KEY.REPORT:
      return null;
    case KEY.SEAL:
      break;
    case KEY.PROVISION:
    case KEY.PROVISION_SEAL:
      if ((enclave.flags & FLAG.PROVISIONKEY) === 0) return failed('SGX_INVALID_ATTRIBUTE');
      break;
    case KEY.EINITTOKEN:
      if ((enclave.flags & FLAG.EINITTOKEN_KEY) === 0) return failed('SGX_INVALID_ATTRIBUTE');
      break;
    default:
      return failed('SGX_INVALID_KEYNAME');
  }
  for (let i = 0; i < 16; i++) if (r[8 + i] > CPUSVN[i]) return failed('SGX_INVALID_CPUSVN');
  if (u16(r, 4) > enclave.isvSvn) return failed('SGX_INVALID_ISVSVN');
  const config = name === KEY.SEAL || name === KEY.PROVISION_SEAL;
  if (config && u16(r, 76) > enclave.configSvn) return failed('SGX_INVALID_ISVSVN');
  return null;
}
