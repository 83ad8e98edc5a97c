/** What a call handler gets, and answers that several handlers give. */
import { SGX_CALL_FAULT, SVSM } from '@nestedsgx/arch';
import type { LeafOutcome } from '../leaf/checks.js';
import type { CallAnswer, CallPort, VcpuPort } from '../ports.js';
import type { QuotingEnclave } from '../quote/quoting-enclave.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** One call under way. */
export interface CallContext {
  readonly s: MonitorState;
  readonly owner: FrameOwner;
  readonly vcpu: VcpuPort;
  readonly call: CallPort;
  readonly quoting: QuotingEnclave;
}

/** A handler; `note` receives the leaf outcome of calls that execute leaves, for the trace. */
export type CallHandler = (c: CallContext, note: (outcome: LeafOutcome) => void) => CallAnswer;

/** RAX := 0, with outputs. */
export function success(
  rcx: number | bigint = 0,
  rdx: number | bigint = 0,
  r8: number | bigint = 0,
): CallAnswer {
  return { rax: SVSM.SUCCESS, rcx, rdx, r8 };
}

/** An SVSM result code; outputs are zero unless given. */
export function failure(code: number, rcx: number | bigint = 0): CallAnswer {
  return { rax: code, rcx, rdx: 0, r8: 0 };
}

/** Refusals for want of resources: the guest may try again. */
const RESOURCE_CHECKS = new Set([
  'enclave-limit',
  'thread-limit',
  'memory-available',
  'processor-started',
  'tcs-idle',
]);

/** The answer to a leaf: RCX = RAX, RDX = output, R8 = flags. `done` replaces RDX where a call reports progress. */
export function leafAnswer(outcome: LeafOutcome, done?: number): CallAnswer {
  switch (outcome.kind) {
    case 'done':
    case 'error':
      return { rax: SVSM.SUCCESS, rcx: outcome.rax, rdx: done ?? outcome.output, r8: outcome.flags };
    case 'fault': {
      const address = Number.isSafeInteger(outcome.address) ? outcome.address : 0;
      return {
        rax: SGX_CALL_FAULT + outcome.vector,
        rcx: outcome.errorCode,
        rdx: done ?? address,
        r8: outcome.check,
      };
    }
    default: {
      const { id } = outcome.list!.rows[outcome.check];
      const code = RESOURCE_CHECKS.has(id) ? SVSM.BUSY : SVSM.INVALID_PARAMETER;
      return { rax: code, rcx: 0, rdx: done ?? 0, r8: outcome.check };
    }
  }
}

/** True for a multiple of 4096 that is an address. */
export function isPage(gpa: number): boolean {
  return Number.isSafeInteger(gpa) && gpa >= 0 && gpa % 4096 === 0;
}
