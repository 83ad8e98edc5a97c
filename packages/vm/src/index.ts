export { type CommandEnd, GuestCommand } from './agent/command.js';
export { VM_ERRORS, type VmErrorCode } from './errors.js';
export { fetchFiles } from './files-out.js';
export type { GuestKernel } from './host/kernels.js';
export { lookUp } from './host/programs.js';
export {
  defaultCache,
  describeGuests,
  guestKernels,
  headersOf,
  missingForGuests,
  provideKernel,
} from './host/requirements.js';
export { type GuestCopy, parseCopy } from './initramfs/assemble.js';
export { attackModuleSources, buildModule } from './module-build.js';
export { kitProgram, victimProgram } from './native.js';
export { MEMORY_LEAST, MEMORY_LIMIT, type VmOptions, WINDOW } from './options.js';
export { type GuestProgram, guestProgram } from './program.js';
export type { Accelerator } from './qemu.js';
export type { RelayCounters } from './relay.js';
export { type RunOptions, type StartTimes, Vm } from './vm.js';
