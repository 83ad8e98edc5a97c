/** The processor as the monitor's process uses it: enclave memory, runners, running enclaves. */
export { CPU_ERRORS, CpuError, type CpuErrorCode } from '../errors.js';
export { LOST_REASON, TCS_STATE } from '../layout/control.js';
export { MemfdEnclaveMemory } from './enclave-memory.js';
export { NativeProcessor, type NativeProcessorOptions } from './processor.js';
export {
  type RunnerFacts,
  type RunnerOptions,
  readRunnerProgram,
  sealRunnerProgram,
} from './runner-process.js';
export { NativeEnclave } from './running-enclave.js';
