/** The software SEV-SNP machine: physical memory, RMP, VMSA, GHCB, VMGEXIT and the security processor. */
export { MACHINE_ERRORS, MachineError, type MachineErrorCode } from './errors.js';
export {
  type Access,
  GeneralProtection,
  NestedPageFault,
  NPF,
  PageNotValidated,
  type RmpCheck,
} from './faults.js';
export { Machine, type MachineOptions } from './machine.js';
export { GuestAccess, MAX_COPY } from './memory/guest-access.js';
export { PhysicalMemory, type PrivateRegion } from './memory/physical-memory.js';
export * from './memory-map.js';
export type { ChipCertificates } from './psp/chip.js';
export { PspCommandError } from './psp/command-error.js';
export { type DeriveKeyOptions, GuestMessageChannel } from './psp/guest-message-channel.js';
export {
  type HardwareInterface,
  HardwarePsp,
  type HardwarePspOptions,
} from './psp/hardware/hardware-psp.js';
export type { HardwareReport } from './psp/hardware/signed-report.js';
export type { LaunchFinish } from './psp/launch.js';
export { DEFAULT_POLICY, type LaunchStart, SoftwarePsp } from './psp/software-psp.js';
export { PSP_STATUS, pspStatusName } from './psp/status.js';
export type { Mapping } from './rmp/mapping.js';
export type { PvalidateResult } from './rmp/pvalidate.js';
export { RMP_RESULT, type RmpResult } from './rmp/result.js';
export { Rmp, type RmpEntry, type RmpRange } from './rmp/rmp.js';
export type { RmpState } from './rmp/rmpupdate.js';
export { PERM, permsOf, type RegionKind, VMPLS } from './rmp/table.js';
export { GHCB_REASON, GHCB_RESULT, GHCB_VERSION, Ghcb, type GhcbField } from './vcpu/ghcb.js';
export { ghcbMsr, HV_FEATURES, type MsrAnswer } from './vcpu/ghcb-msr.js';
export { PSC_ERROR, PSC_OP } from './vcpu/page-state-change.js';
export { type SvsmAnswer, SvsmCall } from './vcpu/svsm-call.js';
export { GUEST_VMPL, type RegisteredVmsa, Vcpu, VcpuTable } from './vcpu/vcpu-table.js';
export type { VmgExit } from './vcpu/vmgexit.js';
export { Vmsa } from './vcpu/vmsa.js';
