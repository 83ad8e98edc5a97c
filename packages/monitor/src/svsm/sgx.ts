/** Protocol 0x4E53: the SGX leaf functions and what belongs to them. Calls below 0x100 are ENCLS leaf numbers. */
import { GATES_DESCRIPTORS, PT_SECS, REPORT, SGX_CALL, SVSM } from '@nestedsgx/arch';
import { addRange, type BulkOutcome } from '../bulk/add-range.js';
import { augRange } from '../bulk/aug-range.js';
import { evict } from '../bulk/evict.js';
import { load } from '../bulk/load.js';
import type { ListOperands } from '../bulk/page-list.js';
import { removeRange } from '../bulk/remove-range.js';
import { restrict } from '../bulk/restrict.js';
import { setPte } from '../bulk/set-pte.js';
import type { LeafOutcome } from '../leaf/checks.js';
import { enclsLeaf } from '../leaves.js';
import type { CallAnswer } from '../ports.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from '../state/enclave.js';
import { type FrameOwner, type MonitorState, readGuest, writeGuest } from '../state/state.js';
import { claimSlot, refreshSlot } from '../state/threads.js';
import { type CallContext, type CallHandler, failure, isPage, leafAnswer, success } from './context.js';
import { guestRam } from './core.js';

/** Bits that R9 of BIND_GATES may have: where trampolines may lie, and GATES_DESCRIPTORS. */
const BESIDE_BITS = 7;

/** States that ENCLAVE_STATUS gives in RCX; RDX has the reason of a loss. */
export const ENCLAVE_STATUS = Object.freeze({ UNINITIALIZED: 0, RUNNING: 1, LOST: 2 } as const);

/** The enclave whose SECS is at `gpa` and belongs to the caller, or null. */
export function enclaveAt({ s, owner }: Pick<CallContext, 's' | 'owner'>, gpa: number): EnclaveRecord | null {
  if (!isPage(gpa)) return null;
  const frame = s.frames.resolve(owner, gpa);
  if (frame < 0 || !s.epcm.valid(frame) || s.epcm.type(frame) !== PT_SECS) return null;
  return s.enclaves.get(frame) ?? null;
}

/** QUERY: RCX = EPC base, RDX = EPC bytes, R8 = free frames. */
function query({ s }: CallContext): CallAnswer {
  const free = s.frames.regular + s.frames.depositedCount - s.epcm.validCount;
  return success(s.machine.epcBase, s.machine.epcBytes, free);
}

/** ADD_RANGE: RCX = operand; RCX = SGX code (or error code of the fault), RDX = bytes done. */
const addRangeCall: CallHandler = ({ s, owner, call }, note) => {
  const { outcome, done } = addRange(s, owner, call.rcx);
  note(outcome);
  return leafAnswer(outcome, done);
};

/** AUG_RANGE: answers as ADD_RANGE. */
const augRangeCall: CallHandler = ({ s, owner, call }, note) => {
  const { outcome, done } = augRange(s, owner, call.rcx);
  note(outcome);
  return leafAnswer(outcome, done);
};

/** RAX = INCOMPLETE asks for another call with the rest, so that others have their turn between. */
function bulkAnswer({ outcome, done, incomplete }: BulkOutcome, note: (o: LeafOutcome) => void): CallAnswer {
  note(outcome);
  return incomplete ? { rax: SVSM.INCOMPLETE, rcx: 0, rdx: done, r8: 0 } : leafAnswer(outcome, done);
}

/** REMOVE_RANGE: answers as ADD_RANGE, or INCOMPLETE. */
const removeRangeCall: CallHandler = ({ s, owner, call }, note) => {
  return bulkAnswer(removeRange(s, owner, call.rcx, call.rdx), note);
};

/** Calls on lists of pages: RCX = SECS, RDX = list, R8 = entries; RCX = SGX code, RDX = entries done. SET_PTE, RESTRICT: or INCOMPLETE. */
function listCall(
  serve: (s: MonitorState, owner: FrameOwner, operands: ListOperands) => BulkOutcome,
): CallHandler {
  return ({ s, owner, call }, note) => {
    return bulkAnswer(serve(s, owner, { secs: call.rcx, list: call.rdx, count: call.r8 }), note);
  };
}

/**
 * BIND_GATES: RCX = SECS, RDX = gPA of the gate area, R8 = pages, R9 = where trampolines may lie (0: anywhere), with
 * GATES_DESCRIPTORS where the enclave may be granted descriptors of its host. Before EINIT.
 */
function bindGates(c: CallContext): CallAnswer {
  const { s, call } = c;
  const enclave = enclaveAt(c, call.rcx);
  if (enclave === null || enclave.initialized) return failure(SVSM.INVALID_PARAMETER);
  const count = call.r8;
  if (!Number.isInteger(count) || count < 1 || count > s.platform.maxThreads)
    return failure(SVSM.INVALID_PARAMETER);
  if (!isPage(call.rdx) || !guestRam(s, call.rdx, count * 4096)) return failure(SVSM.INVALID_ADDRESS);
  const descriptors = call.r9 >= GATES_DESCRIPTORS;
  const beside = descriptors ? call.r9 - GATES_DESCRIPTORS : call.r9;
  if (!(beside <= BESIDE_BITS)) return failure(SVSM.INVALID_PARAMETER);
  if (descriptors && !s.platform.hostDescriptors) return failure(SVSM.INVALID_REQUEST);
  enclave.gates = { gpa: call.rdx, count, beside, descriptors };
  return success();
}

/** QUOTE: RCX = REPORT (432 bytes), RDX = output, R8 = its capacity. RCX = length of the quote. */
function quote({ s, call, quoting }: CallContext): CallAnswer {
  const needed = quoting.quoteLength;
  if (!(call.r8 >= needed)) return failure(SVSM.INVALID_PARAMETER, needed);
  const report = readGuest(s, call.rcx, REPORT.size);
  if (report === null) return failure(SVSM.INVALID_ADDRESS);
  const bytes = quoting.quote(s, report);
  if (bytes === null) return failure(SVSM.INVALID_PARAMETER);
  if (!writeGuest(s, call.rdx, bytes)) return failure(SVSM.INVALID_ADDRESS);
  return success(bytes.length);
}

/** QE_TARGETINFO: RCX = output (512 bytes). */
function qeTargetinfo({ s, call, quoting }: CallContext): CallAnswer {
  return writeGuest(s, call.rcx, quoting.targetInfo()) ? success() : failure(SVSM.INVALID_ADDRESS);
}

/** KICK: RCX = SECS, RDX = slot of the TCS. Stands in for an IPI. */
function kick(c: CallContext): CallAnswer {
  const enclave = enclaveAt(c, c.call.rcx);
  const thread = c.call.rdx;
  if (enclave === null || !Number.isInteger(thread) || (enclave.tcs[thread] ?? null) === null)
    return failure(SVSM.INVALID_PARAMETER);
  if (enclave.running === null || enclave.running.lost !== null) return failure(SVSM.INVALID_REQUEST);
  enclave.running.kick(thread);
  return success();
}

/**
 * ENCLAVE_STATUS: RCX = SECS, RDX = 0 or the linear address of a TCS; RCX = state, RDX = reason of a loss, R8 = slot of
 * that TCS + 1 (its thread and gate), or 0. Asking for a TCS looks at whether it can be entered anew.
 */
function enclaveStatus(c: CallContext): CallAnswer {
  const enclave = enclaveAt(c, c.call.rcx);
  if (enclave === null) return failure(SVSM.INVALID_PARAMETER);
  const tcs = c.call.rdx;
  const slot = tcs === 0 ? 0 : claimSlot(c.s, enclave, tcs - enclave.base) + 1;
  if (slot !== 0) refreshSlot(c.s, enclave, slot - 1);
  if (enclave.lost !== null || enclave.running?.lost)
    return success(ENCLAVE_STATUS.LOST, enclave.lostReason || 1, slot);
  return success(enclave.initialized ? ENCLAVE_STATUS.RUNNING : ENCLAVE_STATUS.UNINITIALIZED, 0, slot);
}

/**
 * STOP: RCX = SECS. No thread of the enclave executes any more, as if its threads were never scheduled again; its pages
 * can then be removed, whatever the enclave does with its threads.
 */
function stop(c: CallContext): CallAnswer {
  const enclave = enclaveAt(c, c.call.rcx);
  if (enclave === null || !enclave.initialized) return failure(SVSM.INVALID_PARAMETER);
  loseEnclave(enclave, 'its guest stopped it', LOST_REASON.STOPPED);
  return success();
}

/** AUTHORIZE_PROVISION: RCX = SECS. Before EINIT. */
function authorizeProvision(c: CallContext): CallAnswer {
  const enclave = enclaveAt(c, c.call.rcx);
  if (enclave === null || enclave.initialized) return failure(SVSM.INVALID_PARAMETER);
  enclave.provisionAuthorized = true;
  return success();
}

const CALLS: ReadonlyMap<number, { name: string; handle: CallHandler }> = new Map([
  [SGX_CALL.QUERY as number, { name: 'QUERY', handle: query }],
  [SGX_CALL.ADD_RANGE, { name: 'ADD_RANGE', handle: addRangeCall }],
  [SGX_CALL.BIND_GATES, { name: 'BIND_GATES', handle: bindGates }],
  [SGX_CALL.QUOTE, { name: 'QUOTE', handle: quote }],
  [SGX_CALL.QE_TARGETINFO, { name: 'QE_TARGETINFO', handle: qeTargetinfo }],
  [SGX_CALL.STOP, { name: 'STOP', handle: stop }],
  [SGX_CALL.KICK, { name: 'KICK', handle: kick }],
  [SGX_CALL.ENCLAVE_STATUS, { name: 'ENCLAVE_STATUS', handle: enclaveStatus }],
  [SGX_CALL.AUTHORIZE_PROVISION, { name: 'AUTHORIZE_PROVISION', handle: authorizeProvision }],
  [SGX_CALL.REMOVE_RANGE, { name: 'REMOVE_RANGE', handle: removeRangeCall }],
  [SGX_CALL.SET_PTE, { name: 'SET_PTE', handle: listCall(setPte) }],
  [SGX_CALL.EVICT, { name: 'EVICT', handle: listCall(evict) }],
  [SGX_CALL.LOAD, { name: 'LOAD', handle: listCall(load) }],
  [SGX_CALL.RESTRICT, { name: 'RESTRICT', handle: listCall(restrict) }],
  [SGX_CALL.AUG_RANGE, { name: 'AUG_RANGE', handle: augRangeCall }],
]);

/** The handler of a call of protocol 0x4E53, or undefined. Leaves come from the leaf table. */
export function sgxCall(number: number): { name: string; handle: CallHandler } | undefined {
  const row = enclsLeaf(number);
  if (row === undefined) return CALLS.get(number);
  return {
    name: row.name,
    handle: ({ s, owner, call }, note) => {
      const outcome = row.execute(s, owner, call.rcx, call.rdx, call.r8, call);
      note(outcome);
      return leafAnswer(outcome);
    },
  };
}
