/** Error codes of the vm package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const VM_ERRORS = Object.freeze({
  VM_PART_MISSING: 'A part of this package that runs beside or inside a guest has not been built.',
  VM_PROGRAM_MISSING: 'A program that starts or fills guests (QEMU, busybox, make …) is not installed.',
  VM_KERNEL_MISSING: 'There is no Linux kernel for the guest, or not the one that was asked for.',
  VM_HEADERS_MISSING: 'The headers that the guest module is built with are not there for this kernel.',
  VM_DOWNLOAD_FAILED: 'A package that guests need could not be downloaded or unpacked.',
  VM_MODULE_BUILD: 'The guest module could not be compiled.',
  VM_MODULE_MISSING: 'A module that the guest needs is not among those of its kernel.',
  VM_MODULE_REFUSED: 'The guest kernel did not load a module.',
  VM_OPTION_INVALID: 'An option of a guest has a value that makes no sense.',
  VM_FILE: 'A file could not be brought into the guest or out of it.',
  VM_LIBRARY_MISSING: 'A program for the guest needs a shared library that is not on this machine.',
  VM_IMAGE_TOO_LARGE: "What the guest starts with does not fit into the guest's memory.",
  VM_START_FAILED: 'QEMU ended, or the guest did not get ready in time.',
  VM_GUEST_ENDED: 'The guest ended while something of it was waited for.',
  VM_COMMAND: 'A command could not be started in the guest.',
  VM_PROTOCOL: 'The guest sent something that is not part of the protocol.',
} as const);

export type VmErrorCode = keyof typeof VM_ERRORS;

/** Makes an error of this package; `advice` says what to do about it. */
export function vmError(code: VmErrorCode, message: string, advice?: string, cause?: unknown): NsgxError {
  return new NsgxError(code, message, { advice, cause });
}
