/** The gate as a host uses it: entering enclaves, and what comes back. */
export { CPU_ERRORS, CpuError, type CpuErrorCode } from '../errors.js';
export {
  EXIT_KIND,
  GATE,
  GATE_FUNCTION,
  INTERRUPT_VECTOR,
  PROGRESS,
  VM_ROOT_LA57,
} from '../layout/gate.js';
export { DESCRIPTOR_CALL, RUNNER_MEMORY } from '../layout/memory.js';
export {
  BESIDE,
  RELAY,
  REVOKE,
  VM_INFO,
  VM_INFO_MAGIC,
  VM_INFO_VERSION,
} from '../layout/relay.js';
export { writeFields } from '../layout/writer.js';
export { type Again, collectorOf, EntryCollector } from './collector.js';
export { TransitionFloor } from './floor.js';
export { type EntryRegisters, type ExitInfo, Gate, type GateOptions, openGates } from './gate.js';
export { type GateLibrary, loadGateLibrary } from './library.js';
export {
  SWITCHLESS_MAX_WORDS,
  SWITCHLESS_MAX_WORKERS,
  SWITCHLESS_STATE,
  SWITCHLESS_TASK,
  SWITCHLESS_WAIT,
  type SwitchlessLibrary,
} from './switchless.js';
