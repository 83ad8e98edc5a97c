/** The library OS: images of Linux programs, and running them in enclaves. */

export { LIBOS_ERRORS, type LibosErrorCode } from './errors.js';
export {
  type BuiltProgram,
  buildProgramImage,
  type ProgramImage,
  type ProgramImageOptions,
} from './image/build.js';
export { buildKernel, KERNEL_PATH } from './kernel/build-kernel.js';
export { LIBOS_INTERFACE, type RunOptions, type RunResult, runProgram } from './run/exec.js';
export { syscallsMarkdown } from './syscalls/markdown.js';
export type { SyscallRow } from './syscalls/row.js';
export { SYSCALLS } from './syscalls/table.js';
