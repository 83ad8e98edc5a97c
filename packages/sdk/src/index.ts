/** The host API: confidential VMs and the enclaves in them. */
export {
  type FunctionDescription,
  type InterfaceDescription,
  parseInterface,
  type ValueType,
} from '@nestedsgx/edl';
export { quote, quotingTarget } from './attestation.js';
export { type BuildOptions, type BuiltEnclave, buildEnclave, chooseAttributes } from './build-enclave.js';
export { type AnyEnclave, type AnyInterface, type ConnectOptions, Cvm } from './cvm.js';
export type { CvmInfo, CvmProcess } from './cvm-info.js';
export { Enclave, type LoadOptions } from './enclave.js';
export { type ImageInput, type ImageParts, type LoadableImage, openImage } from './enclave-image.js';
export { EnclaveFault, SDK_ERRORS, type SdkErrorCode } from './errors.js';
export type {
  ArgumentOf,
  AsyncFunctions,
  OcallHandlers,
  SyncFunctions,
  ValueOf,
} from './interface.js';
export { findInstallation, type Installation, PART_NAMES, type PartName } from './launch/installation.js';
export { endProcess, type LaunchedCvm, launchCvm, makeDirectories } from './launch/launcher.js';
export { LAUNCH_ARGV, LAUNCH_FDS, launchEnvironment } from './launch/loader.js';
export type { LaunchOptions } from './launch/options.js';
export { type Component, readPart, sealedMemory } from './launch/parts.js';
export { canonicalSigners } from './launch/signers.js';
export { defaultSocketPath, defaultStateDir } from './launch/state-dir.js';
export type { CommonLoadOptions, EnclaveStats } from './loaded-enclave.js';
export type { OcallHandler, RawOcall } from './ocalls.js';
export { cpuFlags, platformXfrm } from './platform.js';
export { ENCLAVE_STATUS, EnclaveStatusError, type EnclaveStatusName } from './status.js';
export { COMMAND } from './thread.js';
export { refuseUnrunnable } from './urts/check-build.js';
export type { BoundThread } from './urts/edmm/bound-thread.js';
export {
  type AnyCalls,
  type AsyncCalls,
  IntelEnclave,
  type IntelLoadOptions,
  type IntelOcallHandlers,
} from './urts/intel-enclave.js';
export type { OtherOcalls } from './urts/ocall-dispatch.js';
export { openEdl } from './urts/open-edl.js';
export { SGX_STATUS, SgxStatusError, sgxStatus, statusOfLoadError } from './urts/sgx-status.js';
export type {
  SwitchlessOptions,
  WorkerCounts,
  WorkerEvent,
  WorkerType,
} from './urts/switchless/switchless-options.js';
export { systemFeatures } from './urts/system-features.js';
