/** What an ioctl reports when a leaf was refused. */
import { SGX_ERROR, sgxErrorName } from '@nestedsgx/arch';
import { type ErrnoName, SgxIoctlError } from './errors.js';
import type { LeafOutcome } from './svsm.js';

/** The error for a leaf that returned a code or faulted; `debug`: the SECS has ATTRIBUTES.DEBUG. */
export function leafFailure(
  errno: ErrnoName,
  message: string,
  outcome: LeafOutcome,
  debug: boolean,
): SgxIoctlError {
  const { fault, code } = outcome;
  const why =
    fault === undefined
      ? sgxErrorName(code)
      : `vector ${fault.vector}, error code ${fault.errorCode}, check ${fault.check}`;
  const advice =
    code === SGX_ERROR.SGX_INVALID_MEASUREMENT
      ? 'the pages differ from those that were signed: build and sign the enclave again'
      : code === SGX_ERROR.SGX_INVALID_ATTRIBUTE && debug
        ? 'the signature may not allow debug enclaves: load it without debug'
        : undefined;
  return new SgxIoctlError(errno, `${message}: ${why}`, { sgxCode: fault ? undefined : code, fault, advice });
}
