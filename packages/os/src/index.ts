export * from './call-pool.js';
export * from './cpuid.js';
export * from './cpus.js';
export * from './descriptors.js';
export { errnoName, OS_ERRORS, OsError, systemError } from './errors.js';
export * from './event-pump.js';
export * from './file-lock.js';
export * from './futex.js';
export * from './guard.js';
export * from './linux.js';
export * from './memory.js';
export {
  configureNative,
  type ForeignFunctions,
  loadLibrary,
  loadNative,
  type NativeFunction,
  type NativeLibrary,
  nativeSymbol,
  type PollHandle,
  packageLibraryPath,
  pollReadable,
  viewOf,
} from './native.js';
export * from './page-gcm.js';
export * from './processes.js';
export * from './sockets.js';
export * from './spawn.js';
export * from './uffd.js';
