/** ENCLU leaves that enclave threads hand to the monitor: EREPORT, EGETKEY, and any number a thread may put there. */
import { VECTOR } from '@nestedsgx/arch';
import { FLAG_CF, FLAG_ZF, type LeafOutcome } from './leaf/checks.js';
import { encluLeaf } from './leaves.js';
import type { LeafRequest, LeafResult } from './ports.js';
import type { EnclaveRecord } from './state/enclave.js';
import { type MonitorState, registerToNumber } from './state/state.js';
import { outcomeFields, type TraceSink, traceClock } from './trace.js';

/** #GP(0): an ENCLU leaf that does not exist, or that may not be executed inside an enclave. */
const UNSUPPORTED_LEAF: LeafResult = Object.freeze({
  rax: 0n,
  zf: false,
  cf: false,
  fault: Object.freeze({ vector: VECTOR.GP, errorCode: 0, address: 0n }),
});

const UNSUPPORTED_TRACE = Object.freeze({
  result: '#GP(0)',
  fault: Object.freeze({ vector: VECTOR.GP, errorCode: 0, address: 0 }),
  check: 'ENCLU.leaf-supported',
  requires: 'the leaf exists and may be executed inside an enclave',
});

/** Executes one request of a thread; `count` receives the leaf's name and outcome (null: no such leaf). */
export function executeRunnerLeaf(
  s: MonitorState,
  enclave: EnclaveRecord,
  request: LeafRequest,
  trace: TraceSink | undefined,
  count: (name: string, outcome: LeafOutcome | null) => void,
): LeafResult {
  const row = encluLeaf(request.leaf);
  const rbx = registerToNumber(request.rbx);
  const rcx = registerToNumber(request.rcx);
  const rdx = registerToNumber(request.rdx);
  const began = trace === undefined ? 0 : traceClock();
  const who = () => ({
    kind: 'enclu' as const,
    owner: enclave.owner,
    enclave: enclave.id,
    thread: request.thread,
    operands: [request.rbx, request.rcx, request.rdx].map(exact),
    microseconds: (traceClock() - began) * 1000,
  });
  if (row === undefined || row.execute === null) {
    const name = row?.name ?? `leaf ${request.leaf}`;
    count(name, null);
    trace?.({ ...who(), name, ...UNSUPPORTED_TRACE });
    return UNSUPPORTED_LEAF;
  }
  const outcome = row.execute(s, enclave, rbx, rcx, rdx);
  count(row.name, outcome);
  trace?.({ ...who(), name: row.name, ...outcomeFields(outcome, 0) });
  return leafResult(outcome, request);
}

function leafResult(outcome: LeafOutcome, request: LeafRequest): LeafResult {
  if (outcome.kind !== 'fault') {
    const { rax, flags } = outcome;
    return { rax: BigInt(rax), zf: (flags & FLAG_ZF) !== 0, cf: (flags & FLAG_CF) !== 0 };
  }
  return {
    rax: 0n,
    zf: false,
    cf: false,
    fault: { vector: outcome.vector, errorCode: outcome.errorCode, address: faultAddress(outcome, request) },
  };
}

/** The faulting linear address, exact also where the register was no safe integer. */
function faultAddress(outcome: LeafOutcome, request: LeafRequest): bigint {
  if (outcome.vector !== VECTOR.PF) return 0n;
  return Number.isSafeInteger(outcome.address) ? BigInt(outcome.address) : request.rbx;
}

/** A register as a number where that is exact. */
function exact(value: bigint): number | bigint {
  const number = registerToNumber(value);
  return Number.isSafeInteger(number) ? number : value;
}
