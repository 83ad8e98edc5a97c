/** From a request in the SVSM calling convention to its answer. Nothing a guest puts into it makes this throw. */
import { SVSM, SVSM_PROTOCOL, SVSM_PROTOCOL_SGX, svsmResultName } from '@nestedsgx/arch';
import type { LeafOutcome } from '../leaf/checks.js';
import type { CallAnswer } from '../ports.js';
import { isResourceError } from '../state/available.js';
import { outcomeCheck, outcomeText, type TraceSink } from '../trace.js';
import { type CallContext, failure } from './context.js';
import { CORE_CALLS } from './core.js';
import { sgxCall } from './sgx.js';

/** What was executed, for statistics. */
export interface Dispatched {
  readonly name: string;
  readonly answer: CallAnswer;
  readonly outcome: LeafOutcome | null;
}

/** Serves one call. */
export function dispatch(c: CallContext, trace: TraceSink | undefined): Dispatched {
  const { protocol, call } = c.call;
  let outcome: LeafOutcome | null = null;
  let name = `call ${call}`;
  let answer: CallAnswer;
  const known = protocol === SVSM_PROTOCOL.CORE || protocol === SVSM_PROTOCOL_SGX;
  const row = protocol === SVSM_PROTOCOL.CORE ? CORE_CALLS.get(call) : known ? sgxCall(call) : undefined;
  if (row === undefined) {
    answer = failure(known ? SVSM.UNSUPPORTED_CALL : SVSM.UNSUPPORTED_PROTOCOL);
  } else {
    name = row.name;
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
  }
  if (trace !== undefined) emit(trace, c, name, answer, outcome);
  return { name, answer, outcome };
}

function emit(
  trace: TraceSink,
  c: CallContext,
  name: string,
  answer: CallAnswer,
  outcome: LeafOutcome | null,
): void {
  const { rcx, rdx, r8 } = c.call;
  const result = outcome === null ? svsmText(Number(answer.rax)) : outcomeText(outcome);
  const check = outcome === null ? undefined : outcomeCheck(outcome);
  const kind = outcome === null ? 'svsm' : 'encls';
  trace({
    kind,
    name,
    owner: c.owner.id,
    operands: [rcx, rdx, r8],
    result,
    ...(check === undefined ? {} : { check }),
  });
}

function svsmText(code: number): string {
  return code === SVSM.SUCCESS ? 'ok' : svsmResultName(code);
}
