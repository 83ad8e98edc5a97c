/** Evidence of an enclave: a REPORT made inside, turned into a quote by the monitor. */
import { REPORT, TARGETINFO } from '@nestedsgx/arch';
import { type GuestConnection, SGX_CALL, SVSM_RESULT, sgxCall, svsmRefused } from '@nestedsgx/guest';
import { sdkError } from './errors.js';

const PAGE = 4096;
const FIRST_TRY = 4 * PAGE;
const MAX_QUOTE = 2 ** 20;

/** TARGETINFO (512 bytes) of the quoting service, for EREPORT. @throws SVSM_REFUSED, CVM_LOST */
export function quotingTarget(connection: GuestConnection): Uint8Array {
  const { memory, vcpu } = connection;
  const block = memory.alloc(PAGE, { alignment: PAGE, zero: true });
  try {
    const result = sgxCall(vcpu, SGX_CALL.QE_TARGETINFO, block.gpa);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the quoting target');
    return block.bytes.slice(0, TARGETINFO.size);
  } finally {
    memory.free(block);
  }
}

/** A quote over a REPORT (432 bytes) that was made for the quoting target. @throws SVSM_REFUSED, CVM_LOST */
export function quote(connection: GuestConnection, report: Uint8Array): Uint8Array {
  if (report.length !== REPORT.size)
    throw sdkError(
      'MESSAGE_MALFORMED',
      `the enclave's REPORT has ${report.length} bytes instead of ${REPORT.size}`,
    );
  const { memory, vcpu } = connection;
  for (let capacity = FIRST_TRY; ; ) {
    const input = memory.alloc(PAGE, { alignment: PAGE, zero: true });
    const output = memory.alloc(capacity, { alignment: PAGE });
    try {
      input.bytes.set(report);
      const result = sgxCall(vcpu, SGX_CALL.QUOTE, input.gpa, output.gpa, capacity);
      if (result.rax === 0 && result.rcx <= capacity) return output.bytes.slice(0, result.rcx);
      const larger =
        result.rax === SVSM_RESULT.INVALID_PARAMETER && result.rcx > capacity && result.rcx <= MAX_QUOTE;
      if (!larger) throw svsmRefused(result.rax, 'the quote');
      capacity = Math.ceil(result.rcx / PAGE) * PAGE;
    } finally {
      memory.free(output);
      memory.free(input);
    }
  }
}
