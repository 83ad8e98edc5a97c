/** EINIT. Intel SDM Vol. 3D, "EINIT—Initialize an Enclave for Execution", Operation. */
import { PAGE } from '../../layout.js';
import { aligned, FLAG, hashTag, type Model, PT } from '../model.js';
import { failed, GP, OK, type Outcome, pf, REFUSED } from '../outcome.js';
import type { Enclave } from '../state.js';

export function einit(m: Model, rbx: number, rcx: number, rdx: number): Outcome {
  if (!aligned(rbx, PAGE) || !aligned(rcx, PAGE)) return GP;
  if (!aligned(rdx, 512)) return GP;
  const bad = m.notMine(rcx);
  if (bad) return bad;
  if (!m.read(rbx, 1808)) return pf(rbx);
  if (!m.read(rdx, 304)) return pf(rdx);
  const sig = m.oracle.sigstruct;
  if (!sig.fieldsRight) return failed('SGX_INVALID_SIG_STRUCT');
  if (!sig.signatureRight) return failed('SGX_INVALID_SIGNATURE');
  const secs = m.epcm(rcx);
  if (!secs.valid || secs.type !== PT.SECS) return pf(rcx);
  const enclave = secs.enclave!;
  if (sig.familyIdUsed && (enclave.flags & FLAG.KSS) === 0) return failed('SGX_INVALID_SIG_STRUCT');
  if (enclave.initialized) return GP;
  if (hashTag(sig.hash) !== hashTag(enclave.measurement)) return failed('SGX_INVALID_MEASUREMENT');
  const authorized = m.p.launchSigner === null || m.p.launchSigner === sig.signer;
  if ((enclave.flags & FLAG.EINITTOKEN_KEY) !== 0 && !authorized) return failed('SGX_INVALID_ATTRIBUTE');
  if (((enclave.flags ^ sig.attributes) & sig.attributeMask) !== 0) return failed('SGX_INVALID_ATTRIBUTE');
  if (((enclave.miscselect ^ sig.miscselect) & sig.miscMask) !== 0) return failed('SGX_INVALID_ATTRIBUTE');
  const refused = launch(m, enclave, authorized);
  if (refused) return refused;
  const provision = (enclave.flags & FLAG.PROVISIONKEY) !== 0;
  if (provision && m.p.provisionNeedsAuthorization && !enclave.provisionAuthorized)
    return failed('SGX_INVALID_ATTRIBUTE');
  const tcs = m.frames.filter((e) => e.valid && e.type === PT.TCS && e.enclave === enclave);
  if (tcs.length > enclave.gates || m.refuse === 'start') return REFUSED;
  enclave.initialized = true;
  enclave.isvSvn = sig.isvSvn;
  return OK;
}

/** Launch control: without a token the signer decides, with one the token. */
function launch(m: Model, enclave: Enclave, authorized: boolean): Outcome | null {
  const { token, sigstruct } = m.oracle;
  if (!token.valid) return authorized ? null : failed('SGX_INVALID_EINITTOKEN');
  if (token.debugLauncher && (enclave.flags & FLAG.DEBUG) === 0) return failed('SGX_INVALID_EINITTOKEN');
  if (!token.reservedZero) return failed('SGX_INVALID_EINITTOKEN');
  if (!token.cpuSvnRight) return failed('SGX_INVALID_CPUSVN');
  if (!token.macRight) return failed('SGX_INVALID_EINITTOKEN');
  if (hashTag(token.hash) !== hashTag(enclave.measurement) || token.signer !== sigstruct.signer)
    return failed('SGX_INVALID_MEASUREMENT');
  if (token.attributes !== enclave.flags) return failed('SGX_INVALID_ATTRIBUTE');
  return null;
}
