import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadLibrary, type NativeFunction } from '@nestedsgx/os';

/** The gate library, bound. Handles and addresses are numbers. */
export interface GateLibrary {
  open(page: number, peerPidfd: number, spinCycles: number): number;
  close(handle: number): void;
  enter(handle: number, fn: number, rdi: number | bigint, rsi: number | bigint): number;
  counters(handle: number, out: BigUint64Array): void;
  floorEnter(page: number): void;
  /** Address of the function that a call pool runs with the address of a job. */
  readonly runJob: number;
}

let loaded: GateLibrary | undefined;

/**
 * Loads libnsgx-gate.so, from `path` or from this package. Calling it is optional; a second call does nothing.
 *
 * @throws OsError NATIVE_LIBRARY_MISSING
 */
export function loadGateLibrary(path?: string): GateLibrary {
  if (loaded) return loaded;
  const file = path ?? join(dirname(fileURLToPath(import.meta.url)), '../../../native/build/libnsgx-gate.so');
  const library = loadLibrary(file);
  const bind = (declaration: string): NativeFunction => library.func(declaration);
  loaded = {
    open: bind('uint64_t nsgx_gate_open(uint64_t page, int32_t peer, uint32_t spin)'),
    close: bind('void nsgx_gate_close(uint64_t gate)'),
    enter: bind('uint32_t nsgx_gate_enter(uint64_t gate, uint32_t function, int64_t rdi, int64_t rsi)'),
    counters: bind('void nsgx_gate_counters(uint64_t gate, void *out)'),
    floorEnter: bind('void nsgx_floor_enter(uint64_t page)'),
    runJob: library.symbolAddress('nsgx_gate_run_job'),
  };
  return loaded;
}
