/** The error codes of this package. Faults of the architecture have classes of their own in `faults.ts`. */
import { NsgxError, type NsgxErrorOptions } from '@nestedsgx/arch';

/** Every error code that package `machine` throws, with its meaning in one line. */
export const MACHINE_ERRORS = Object.freeze({
  MACHINE_SIZE: 'Guest RAM or EPC has a size the machine cannot be built with.',
  MACHINE_NO_SLOT: 'No free 1 TiB slot of the address space is left for guest RAM.',
  MACHINE_REGION: 'A private region is misaligned, overlaps another one or lies outside the monitor range.',
  MACHINE_NO_BACKING: 'A guest-physical address has no memory in the machine (EPC belongs to its enclave).',
  MACHINE_COPY_LENGTH: 'A copy from or to guest memory is longer than the machine allows.',
  MACHINE_BUS_ERROR: 'The kernel could not provide a page of guest memory (SIGBUS).',
  MACHINE_DEPOSIT:
    'A range to deposit or withdraw is misaligned, not guest RAM, or not in the state it needs.',
  MACHINE_RMP: 'An RMP instruction that the machine itself executed was refused.',
  NESTED_PAGE_FAULT: 'An access fails the RMP checks (#VMEXIT NPF).',
  PAGE_NOT_VALIDATED: 'An access touches a page the guest has not validated (#VC 0x404).',
  GENERAL_PROTECTION: 'An instruction was executed where it is not allowed (#GP).',
  VCPU_LIMIT: 'A vCPU number or APIC id is out of range or already in use.',
  VMSA_INVALID: 'A VMSA does not describe a vCPU this machine can run.',
  GHCB_LENGTH: 'A GHCB copy does not have 4096 bytes.',
  PSP_STATE_DAMAGED: 'The stored chip is truncated, altered or of another format.',
  PSP_STATE_PERMISSIONS: 'The stored chip, or its directory, is readable by other users.',
  PSP_STATE_IO: 'The stored chip cannot be read or written.',
  PSP_COMMAND: 'The security processor refused a command; `status` has the firmware status code.',
  PSP_CHANNEL: 'A guest message failed and its VMPCK may not be used again.',
  PSP_RESPONSE: 'The security processor answered a guest message with an error status.',
  HARDWARE_PSP_ABSENT: 'This machine is no SEV-SNP guest, or its kernel offers no attestation reports.',
  HARDWARE_PSP_BUSY: 'The security processor, or its host, stayed busy longer than was waited.',
  HARDWARE_PSP_REFUSED:
    'The kernel, the host or the security processor refused a request for a report or key.',
  HARDWARE_PSP_REPORT: 'The security processor gave a report that is malformed or not the one asked for.',
} as const);

/** Codes of {@link MACHINE_ERRORS}. */
export type MachineErrorCode = keyof typeof MACHINE_ERRORS;

/** An error of this package. */
export class MachineError extends NsgxError {
  constructor(code: MachineErrorCode, message: string, options: NsgxErrorOptions = {}) {
    super(code, message, options);
  }
}
