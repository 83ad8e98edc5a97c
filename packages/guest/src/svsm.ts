/** Protocol 0x4E53 of the monitor as the driver uses it: ENCLS leaves and the bulk and service calls. */

import { SGX_CALL as CALLS, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { guestError } from './errors.js';
import { SVSM_RESULT, type SvsmResult, type Vcpu } from './vcpu.js';

/** RAX[63:32] of the calls below. */
export const SGX_PROTOCOL = SVSM_PROTOCOL_SGX;

/** Calls from 0x100 on; calls below are ENCLS leaf numbers. REMOVE_RANGE is EREMOVE of consecutive frames. */
export const SGX_CALL = CALLS;

/** Outcome of a leaf: its SGX error code (0 for success), or the exception it raised. */
export interface LeafOutcome {
  /** SDM error code in RAX; 0 when the leaf succeeded. Not meaningful when `fault` is set. */
  code: number;
  fault?: { vector: number; errorCode: number; address: number; check: number };
  /** Second output (ADD_RANGE: bytes done). */
  rdx: number;
}

const BUSY_TRIES = 200;

function busyPause(attempt: number): void {
  if (attempt < 3) return;
  Atomics.wait(pauseWord, 0, 0, Math.min(attempt, 10));
}

const pauseWord = new Int32Array(new SharedArrayBuffer(4));

/** Issues one SVSM call of the SGX protocol, trying again while the monitor reports BUSY (at most about 2 s). */
export function sgxCall(
  vcpu: Vcpu,
  call: number,
  rcx = 0,
  rdx = 0,
  r8 = 0,
  timeoutMs?: number,
  r9 = 0,
): SvsmResult {
  for (let attempt = 0; ; attempt++) {
    const result = vcpu.call(SGX_PROTOCOL, call, rcx, rdx, r8, r9, timeoutMs);
    if (result.rax !== SVSM_RESULT.BUSY || attempt >= BUSY_TRIES) return result;
    busyPause(attempt);
  }
}

/**
 * Reads the result of a leaf-like call.
 * @throws SVSM_REFUSED when the monitor refused the call itself (bad address, not the owner, unknown call)
 */
export function leafOutcome(result: SvsmResult, what: string): LeafOutcome {
  if (result.rax === 0) return { code: result.rcx % 2 ** 32, rdx: result.rdx };
  const vector = result.rax - SVSM_RESULT.FAULT;
  if (vector >= 0 && vector < 32)
    return {
      code: 0,
      fault: { vector, errorCode: result.rcx, address: result.rdx, check: result.r8 },
      rdx: 0,
    };
  throw svsmRefused(result.rax, what);
}

/** Runs an ENCLS leaf with RBX, RCX, RDX as in the manual; memory operands are guest-physical addresses. */
export function encls(
  vcpu: Vcpu,
  leaf: number,
  what: string,
  rbx = 0,
  rcx = 0,
  rdx = 0,
  timeoutMs?: number,
): LeafOutcome {
  return leafOutcome(sgxCall(vcpu, leaf, rbx, rcx, rdx, timeoutMs), what);
}

const RESULT_NAMES = new Map<number, string>(
  Object.entries(SVSM_RESULT).map(([name, value]) => [value, name]),
);

/** The error for an SVSM result that is not SUCCESS. */
export function svsmRefused(rax: number, what: string): Error {
  const name = RESULT_NAMES.get(rax) ?? `0x${rax.toString(16)}`;
  return guestError('SVSM_REFUSED', `the monitor refused ${what}: ${name}`);
}
