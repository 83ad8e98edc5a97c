/** The VMPL1 side: attachment to a confidential VM, guest memory, vCPUs, SGX driver semantics, enclave entry. */

export { type AttachOptions, GuestConnection, readAttachReply } from './connection.js';
export { type ControlMessage, ControlSocket } from './control.js';
export { CpuEntryGate } from './cpu-gate.js';
export { SgxDevice, type Staging, UNPRIVILEGED_ATTRIBUTES } from './device.js';
export { LinearRanges, processRanges } from './elrange.js';
export { type AddPages, type EnclaveStatus, SGX_PAGE_MEASURE, SgxEnclaveFile } from './enclave-file.js';
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
export { type GuestBlock, GuestMemory, type GuestMemoryOptions } from './memory.js';
export { EnclavePageTable, type PageExtent } from './page-table.js';
export {
  encls,
  type LeafOutcome,
  leafOutcome,
  SGX_CALL,
  SGX_PROTOCOL,
  sgxCall,
  svsmRefused,
} from './svsm.js';
export { SVSM_RESULT, type SvsmResult, Vcpu, type VcpuPlacement } from './vcpu.js';
