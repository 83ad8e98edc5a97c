/** VMPL0 logic: EPC, EPCM, one file per leaf function, keys, quoting, SVSM dispatch. No native code. */
export { ADD_RANGE_CHECKS, addRange, type BulkOutcome } from './bulk/add-range.js';
export { AUG_RANGE_CHECKS, augRange } from './bulk/aug-range.js';
export { EVICT_CHECKS, evict } from './bulk/evict.js';
export { LOAD_CHECKS, load } from './bulk/load.js';
export { REMOVE_RANGE_CHECKS, REMOVE_RANGE_MAX, removeRange } from './bulk/remove-range.js';
export { RESTRICT_CHECKS, restrict } from './bulk/restrict.js';
export { SET_PTE_CHECKS, setPte } from './bulk/set-pte.js';
export { checkDecrement, EDECCSSA_CHECKS } from './enclu/edeccssa.js';
export { checkEnter, EENTER_CHECKS, enterableFrames } from './enclu/eenter.js';
export type { TcsPage } from './enclu/entry.js';
export { checkResume, ERESUME_CHECKS } from './enclu/eresume.js';
export * from './errors.js';
export { ThreadedHashing, type ThreadPlacement } from './hashing/threaded-hashing.js';
export { checkInvariants } from './invariants.js';
export { CmacKey, cmac, tagsEqual, wipe } from './keys/cmac.js';
export * from './keys/derivation.js';
export { type BaseKeys, KeyHierarchy } from './keys/hierarchy.js';
export * from './leaf/checks.js';
export type { LeafCount } from './leaf/counters.js';
export * from './leaves.js';
export { type Isolation, Monitor, type MonitorOptions, type MonitorStats } from './monitor.js';
export type { EvictedEnclave } from './paging/evicted-enclaves.js';
export { nodeGcm, PageCipher } from './paging/page-cipher.js';
export { VA_SLOTS, VersionArrays } from './paging/version-arrays.js';
export type * from './ports.js';
export { KEY_BINDING_LABEL, QuotingEnclave } from './quote/quoting-enclave.js';
export { isResourceError } from './state/available.js';
export { EnclaveRecord, LOST_REASON, type TcsRecord } from './state/enclave.js';
export * from './state/epcm.js';
export { FOREIGN, type FrameOwner, FrameSpace, NOT_EPC } from './state/frames.js';
export {
  DEFAULT_PLATFORM,
  INTEL_XSAVE,
  type Platform,
  type XsaveLayout,
  xfrmLegal,
  xsaveSize,
} from './state/platform.js';
export { type MonitorState, newState } from './state/state.js';
export type { EnclaveStats, TransitionCounts } from './stats.js';
export { CALL_ROWS, type CallRow } from './svsm/call-operands.js';
export { ENCLAVE_STATUS } from './svsm/sgx.js';
export type { TraceEvent, TraceSink } from './trace.js';
