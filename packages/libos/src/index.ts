/** The library OS: images of Linux programs, and running them in enclaves. */

export { LIBOS_ERRORS, type LibosErrorCode } from './errors.js';
export { type AppFacts, appFacts } from './image/app-facts.js';
export { type AppImage, isAppImage, openAppImage } from './image/app-read.js';
export { writeAppImage } from './image/app-write.js';
export {
  type Assembled,
  type AssembleOptions,
  assembleImage,
  buildAppImage,
  withDefaults,
} from './image/assemble.js';
export {
  type BuiltProgram,
  buildProgramImage,
  type ProgramImage,
  type ProgramImageOptions,
} from './image/build.js';
export type { MountPlace } from './image/collect.js';
export { factOf } from './image/fact.js';
export { type InspectedFile, type InspectedImage, inspectAppImage } from './image/inspect.js';
export { Layers } from './image/layers.js';
export { type OcclumSpec, readOcclum } from './image/occlum.js';
export { type ArgumentPolicy, checkPolicy, maySet, type ProgramPolicy } from './image/policy.js';
export {
  type Copy,
  type ImageSpec,
  isEntryPoint,
  mergeSpecs,
  parseCopy,
  parseSize,
  readSpec,
  sizeFault,
} from './image/spec.js';
export type { ProvisionedKey, StoreKey } from './image/store-key.js';
export { buildKernel, KERNEL_PATH } from './kernel/build-kernel.js';
export {
  type RunningProgram,
  type RunOptions,
  type RunResult,
  runProgram,
} from './run/exec.js';
export { LIBOS_INTERFACE } from './run/interface.js';
export type { MountOptions } from './run/mounts/host-mounts.js';
export type { Provision } from './run/provision.js';
export { forwardSignals } from './run/signals.js';
export { syscallsMarkdown } from './syscalls/markdown.js';
export type { SyscallRow } from './syscalls/row.js';
export { SYSCALLS } from './syscalls/table.js';
