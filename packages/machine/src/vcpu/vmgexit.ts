/** VMGEXIT: what the machine does with the GHCB of a vCPU (AMD 56421, "Standard VMGEXIT"). */
import { GHCB, GHCB_EXIT } from '@nestedsgx/arch';
import { MachineError } from '../errors.js';
import { NestedPageFault, PageNotValidated } from '../faults.js';
import type { Machine } from '../machine.js';
import { isPageAligned, MAX_VCPUS, PAGE_SIZE } from '../memory-map.js';
import { PspCommandError } from '../psp/command-error.js';
import { GHCB_ANSWER, GHCB_REASON, GHCB_RESULT, type Ghcb } from './ghcb.js';
import { HV_FEATURES } from './ghcb-msr.js';
import { pageStateChange } from './page-state-change.js';
import type { SvsmAnswer, SvsmCall } from './svsm-call.js';
import { GUEST_VMPL, type Vcpu } from './vcpu-table.js';

/**
 * What an exit was: a call for the monitor (the caller must answer it with `answerCall`), something the
 * machine has answered itself, or a GHCB the guest cannot reach any more.
 */
export type VmgExit =
  | { kind: 'call'; call: SvsmCall }
  | { kind: 'served' }
  | { kind: 'terminated'; set: number; code: number }
  | { kind: 'fault'; fault: MachineError };

const SERVED: VmgExit = Object.freeze({ kind: 'served' });
/** GUEST_REQUEST messages and their answers are one page each. */
const MESSAGE_BYTES = PAGE_SIZE;

/** Copies the GHCB of `vcpu` once and serves the exit. Throws nothing that a guest can cause. */
export function vmgexit(machine: Machine, vcpu: Vcpu): VmgExit {
  const { ghcb } = vcpu;
  try {
    machine.guest.copyInto(GUEST_VMPL, vcpu.ghcbGpa, ghcb.bytes);
    const problem = ghcb.headerProblem();
    if (problem !== 0) return malformed(machine, vcpu, problem);
    if (ghcb.high('SW_EXITCODE') !== 0) return malformed(machine, vcpu, GHCB_REASON.INVALID_EVENT);
    return dispatch(machine, vcpu, ghcb);
  } catch (error) {
    if (error instanceof NestedPageFault || error instanceof PageNotValidated || isBusError(error))
      return { kind: 'fault', fault: error };
    throw error;
  }
}

/** The kernel has no page left for this memory: a misfortune of this exit, not of the machine. */
function isBusError(error: unknown): error is MachineError {
  return error instanceof MachineError && error.code === 'MACHINE_BUS_ERROR';
}

function dispatch(machine: Machine, vcpu: Vcpu, ghcb: Ghcb): VmgExit {
  switch (ghcb.low('SW_EXITCODE')) {
    case GHCB_EXIT.SNP_RUN_VMPL:
      return runVmpl(machine, vcpu);
    case GHCB_EXIT.HV_FEATURES:
      return result(machine, vcpu, 0, HV_FEATURES);
    case GHCB_EXIT.PAGE_STATE_CHANGE:
      return psc(machine, vcpu);
    case GHCB_EXIT.GUEST_REQUEST:
      return guestRequest(machine, vcpu);
    case GHCB_EXIT.AP_CREATION:
      return apCreation(machine, vcpu);
    case GHCB_EXIT.TERMINATE:
      return {
        kind: 'terminated',
        set: ghcb.low('SW_EXITINFO1') & 0xf,
        code: (ghcb.low('SW_EXITINFO1') >>> 4) & 0xff,
      };
    default:
      return malformed(machine, vcpu, GHCB_REASON.INVALID_EVENT);
  }
}

/** SNP_RUN_VMPL: EXITINFO1 = target VMPL. Only VMPL0 has anything to run; a call must be pending in its CAA. */
function runVmpl(machine: Machine, vcpu: Vcpu): VmgExit {
  const { ghcb } = vcpu;
  if (ghcb.number('SW_EXITINFO1') !== 0) return malformed(machine, vcpu, GHCB_REASON.INVALID_INPUT);
  const registers = ghcb.has('RAX') && ghcb.has('RCX') && ghcb.has('RDX') && ghcb.has('R8') && ghcb.has('R9');
  if (!registers) return malformed(machine, vcpu, GHCB_REASON.MISSING_INPUT);
  machine.rmp.check(GUEST_VMPL, vcpu.caaGpa, PAGE_SIZE, 'w');
  // Nothing pending: VMPL0 ran and had nothing to do.
  if (!vcpu.takeCallPending()) return result(machine, vcpu, GHCB_RESULT.NO_ACTION, 0);
  return { kind: 'call', call: vcpu.call };
}

/** Writes the outputs of a call into the GHCB of `vcpu`. Throws NestedPageFault when the guest gave its GHCB away. */
export function answerCall(machine: Machine, vcpu: Vcpu, answer: SvsmAnswer): void {
  const { ghcb } = vcpu;
  ghcb.result(GHCB_RESULT.NO_ACTION, 0);
  ghcb.set('RAX', answer.rax);
  ghcb.set('RCX', answer.rcx ?? ghcb.big('RCX'));
  ghcb.set('RDX', answer.rdx ?? ghcb.big('RDX'));
  ghcb.set('R8', answer.r8 ?? ghcb.big('R8'));
  publish(machine, vcpu);
}

function psc(machine: Machine, vcpu: Vcpu): VmgExit {
  const list = vcpu.ghcb.scratch(vcpu.ghcbGpa, 16);
  if (list === undefined) return malformed(machine, vcpu, GHCB_REASON.INVALID_SCRATCH);
  const info2 = pageStateChange(machine, list);
  const at = vcpu.ghcbGpa + GHCB.offsets.SHARED_BUFFER;
  // The list may have made the GHCB page itself private; then the answer has nowhere to go and faults.
  machine.guest.copyOut(GUEST_VMPL, at, vcpu.ghcb.bytes.subarray(GHCB.offsets.SHARED_BUFFER, 0xff0));
  return result(machine, vcpu, 0, info2);
}

/** Hands a guest message to the PSP. Without the right VMPCK no message is accepted, whoever carries it. */
function guestRequest(machine: Machine, vcpu: Vcpu): VmgExit {
  const request = vcpu.ghcb.number('SW_EXITINFO1');
  const response = vcpu.ghcb.number('SW_EXITINFO2');
  if (!isPageAligned(request) || !isPageAligned(response) || request === response) {
    return malformed(machine, vcpu, GHCB_REASON.INVALID_INPUT);
  }
  machine.rmp.check(GUEST_VMPL, response, MESSAGE_BYTES, 'w');
  const message = machine.guest.copyIn(GUEST_VMPL, request, MESSAGE_BYTES);
  try {
    machine.guest.copyOut(GUEST_VMPL, response, machine.psp.guestRequest(message));
    return result(machine, vcpu, 0, 0);
  } catch (error) {
    if (error instanceof PspCommandError) return result(machine, vcpu, 0, error.status);
    throw error;
  }
}

/** AP creation: EXITINFO1 = APIC id << 32 | VMPL << 16 | request (0 on INIT, 1 now, 2 destroy), EXITINFO2 = VMSA. */
function apCreation(machine: Machine, vcpu: Vcpu): VmgExit {
  const { ghcb } = vcpu;
  const info1 = ghcb.low('SW_EXITINFO1');
  const apicId = ghcb.high('SW_EXITINFO1');
  const request = info1 & 0xffff;
  const gpa = ghcb.number('SW_EXITINFO2');
  if (info1 >>> 20 !== 0 || request > 2 || apicId >= MAX_VCPUS) {
    return malformed(machine, vcpu, GHCB_REASON.INVALID_INPUT);
  }
  const vmsa = isPageAligned(gpa) ? machine.vcpus.vmsa(gpa) : undefined;
  const fits = vmsa !== undefined && vmsa.vmpl === info1 >>> 16 && vmsa.apicId === apicId;
  if (!fits || vmsa.running !== (request === 2)) return malformed(machine, vcpu, GHCB_REASON.INVALID_INPUT);
  if (request === 2) machine.vcpus.stop(gpa);
  else machine.vcpus.start(gpa);
  return result(machine, vcpu, 0, 0);
}

function malformed(machine: Machine, vcpu: Vcpu, reason: number): VmgExit {
  return result(machine, vcpu, GHCB_RESULT.MALFORMED_INPUT, reason);
}

function result(machine: Machine, vcpu: Vcpu, info1: number, info2: number): VmgExit {
  vcpu.ghcb.result(info1, info2);
  publish(machine, vcpu);
  return SERVED;
}

function publish(machine: Machine, vcpu: Vcpu): void {
  const { from, to } = GHCB_ANSWER;
  machine.guest.copyOut(GUEST_VMPL, vcpu.ghcbGpa + from, vcpu.ghcb.bytes.subarray(from, to));
}
