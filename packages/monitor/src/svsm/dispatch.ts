/** From a request in the SVSM calling convention to its answer. Nothing a guest puts into it makes this throw. */
import { SVSM, SVSM_PROTOCOL, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import type { LeafOutcome } from '../leaf/checks.js';
import type { CallAnswer, CallPort } from '../ports.js';
import { isResourceError } from '../state/available.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { outcomeFields, type TraceSink, traceClock } from '../trace.js';
import { type CallContext, failure } from './context.js';
import { CORE_CALLS } from './core.js';
import { sgxCall } from './sgx.js';
import { FIRST_CALL, subjectOf } from './subject.js';

/** What was executed, for statistics. */
export interface Dispatched {
  readonly name: string;
  readonly answer: CallAnswer;
  readonly outcome: LeafOutcome | null;
  /** The enclave it was about, where its operands name one. */
  readonly enclave: EnclaveRecord | undefined;
}

/** Serves one call. */
export function dispatch(c: CallContext, trace: TraceSink | undefined): Dispatched {
  const { protocol, call } = c.call;
  const began = trace === undefined ? 0 : traceClock();
  let outcome: LeafOutcome | null = null;
  let name = `call ${call}`;
  let answer: CallAnswer;
  let enclave: EnclaveRecord | undefined;
  const known = protocol === SVSM_PROTOCOL.CORE || protocol === SVSM_PROTOCOL_SGX;
  const row = protocol === SVSM_PROTOCOL.CORE ? CORE_CALLS.get(call) : known ? sgxCall(call) : undefined;
  if (row === undefined) {
    answer = failure(known ? SVSM.UNSUPPORTED_CALL : SVSM.UNSUPPORTED_PROTOCOL);
  } else {
    name = row.name;
    // Before, because afterwards the page may be gone, and afterwards, because before it may not be there yet.
    const subject = () => (protocol === SVSM_PROTOCOL_SGX ? subjectOf(c.s, c.owner, c.call) : undefined);
    enclave = subject();
    try {
      answer = row.handle(c, (noted) => {
        outcome = noted;
      });
    } catch (error) {
      // Typed errors of the layers below mean that they would not do it; all others are defects.
      if (!isResourceError(error)) throw error;
      c.s.failures.note(error);
      answer = failure(SVSM.BUSY);
      name = `${row.name} (${error.code})`;
    }
    enclave ??= subject();
  }
  if (trace !== undefined) emit(trace, c, { name, answer, outcome, enclave }, began);
  return { name, answer, outcome, enclave };
}

function emit(trace: TraceSink, c: CallContext, served: Dispatched, began: number): void {
  const { outcome, answer, enclave } = served;
  const leaf = outcome !== null && c.call.call < FIRST_CALL;
  const bulk = outcome !== null && !leaf;
  trace({
    kind: leaf ? 'encls' : 'svsm',
    name: served.name,
    owner: c.owner.id,
    ...(enclave === undefined ? {} : { enclave: enclave.id }),
    operands: [operand(c.call, 'rcx'), operand(c.call, 'rdx'), operand(c.call, 'r8')],
    ...outcomeFields(outcome, Number(answer.rax)),
    ...(bulk ? { done: Number(answer.rdx ?? 0) } : {}),
    microseconds: (traceClock() - began) * 1000,
  });
}

function operand(call: CallPort, register: 'rcx' | 'rdx' | 'r8'): number | bigint {
  const value = call[register];
  return Number.isSafeInteger(value) ? value : call.big(register);
}
