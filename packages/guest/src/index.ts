/** The VMPL1 side: attachment to a confidential VM, guest memory, vCPUs, SGX driver semantics, enclave entry. */

export { type AddPages, SGX_PAGE_MEASURE } from './add-pages.js';
export { type AttachOptions, GuestConnection, readAttachReply } from './connection.js';
export { type ControlMessage, ControlSocket } from './control.js';
export { CpuEntryGate, type CpuEntryGateOptions } from './cpu-gate.js';
export { type DeviceOptions, SgxDevice, type Staging, UNPRIVILEGED_ATTRIBUTES } from './device.js';
export type { ModifyTypes, RemovePages, RestrictPermissions } from './edmm.js';
export { LinearRanges, processRanges } from './elrange.js';
export { type EnclaveStatus, SgxEnclaveFile } from './enclave-file.js';
export {
  EENTER,
  EEXIT,
  type EntryGate,
  type EntryRegisters,
  ERESUME,
  EXIT_KIND,
  type ExitRegisters,
  enclaveRun,
  type SgxEnclaveRun,
  sgxEnterEnclave,
} from './entry.js';
export { EpcFrames, type FrameRun } from './epc-frames.js';
export { ERRNO, type ErrnoName, GUEST_ERRORS, type GuestErrorCode, SgxIoctlError } from './errors.js';
export { attachKernelGuest, type KernelGuestShare } from './kernel-guest.js';
export { type GuestBlock, GuestMemory, type GuestMemoryOptions } from './memory.js';
export { EnclavePageTable, type PageExtent } from './page-table.js';
export { BackingStore } from './paging/backing-store.js';
export type { FaultServer } from './paging/fault.js';
export { EpcSupply, type PagingCounters } from './paging/supply.js';
export {
  encls,
  type LeafOutcome,
  leafOutcome,
  SGX_CALL,
  SGX_PROTOCOL,
  sgxCall,
  svsmRefused,
} from './svsm.js';
export { EnclaveThreads, type KnownThread } from './threads.js';
export { SVSM_RESULT, type SvsmResult, Vcpu, type VcpuPlacement } from './vcpu.js';
