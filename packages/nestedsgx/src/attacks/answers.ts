/** Names of what the monitor answers. */
import { sgxErrorName, svsmResultName } from '@nestedsgx/arch';
import { SgxIoctlError } from '@nestedsgx/guest';

/** The SGX code of a refused EINIT, else what went wrong. */
export function codeOf(error: unknown): string {
  if (error instanceof SgxIoctlError && error.sgxCode !== undefined) return sgxErrorName(error.sgxCode);
  return (error as { code?: string }).code ?? (error as Error).message;
}

/** The SGX code of an answer to a leaf. */
export function leafCode(rax: number, rcx: number): string {
  if (rax === 0) return rcx === 0 ? 'success' : sgxErrorName(rcx % 2 ** 32);
  const vector = rax - 0x8000_1000;
  if (vector >= 0 && vector < 32) return vector === 14 ? '#PF' : vector === 13 ? '#GP' : `vector ${vector}`;
  return svsmResultName(rax).replace('SVSM_', '');
}
