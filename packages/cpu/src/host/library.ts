import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadLibrary, type NativeFunction } from '@nestedsgx/os';
import { bindSwitchless, type SwitchlessLibrary } from './switchless.js';

/** The gate library, bound. Handles and addresses are numbers. */
export interface GateLibrary {
  open(page: number, peerPidfd: number, spinCycles: number): number;
  close(handle: number): void;
  enter(handle: number, fn: number, rdi: number | bigint, rsi: number | bigint): number;
  /** Address of the function behind `enter`, for native callers. */
  readonly enterAddress: number;
  /** Address of a function as `enter` for threads of one gate each, which share their CPU with the runner's. */
  readonly enterNearAddress: number;
  /** As `enter`; EXIT_KIND.NONE when there is no answer within `limitUs`. */
  enterFor(handle: number, fn: number, rdi: number | bigint, rsi: number | bigint, limitUs: number): number;
  /** Goes on waiting for the answer of `enterFor`. */
  wait(handle: number, limitUs: number): number;
  counters(handle: number, out: BigUint64Array): void;
  floorEnter(page: number): void;
  collectorOpen(): number;
  collectorClose(collector: number): void;
  collectorAdd(
    collector: number,
    handle: number,
    token: number,
    fn: number,
    registers: BigUint64Array,
  ): number;
  collectorTake(collector: number, out: Uint32Array, capacity: number, yieldFirst: number): number;
  /** Address of the function that a thread of a call pool runs with the address of a collector. */
  readonly collectorWait: number;
  readonly switchless: SwitchlessLibrary;
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
    enterAddress: library.symbolAddress('nsgx_gate_enter'),
    enterNearAddress: library.symbolAddress('nsgx_gate_enter_near'),
    enterFor: bind(
      'uint32_t nsgx_gate_enter_for(uint64_t gate, uint32_t function, int64_t rdi, int64_t rsi, uint32_t limit)',
    ),
    wait: bind('uint32_t nsgx_gate_wait(uint64_t gate, uint32_t limit)'),
    counters: bind('void nsgx_gate_counters(uint64_t gate, void *out)'),
    floorEnter: bind('void nsgx_floor_enter(uint64_t page)'),
    collectorOpen: bind('uint64_t nsgx_collector_open()'),
    collectorClose: bind('void nsgx_collector_close(uint64_t collector)'),
    collectorAdd: bind(
      'int32_t nsgx_collector_add(uint64_t collector, uint64_t gate, uint32_t token, uint32_t function, void *registers)',
    ),
    collectorTake: bind(
      'uint32_t nsgx_collector_take(uint64_t collector, void *out, uint32_t capacity, uint32_t yield)',
    ),
    collectorWait: library.symbolAddress('nsgx_collector_wait'),
    switchless: bindSwitchless(bind, (name) => library.symbolAddress(name)),
  };
  return loaded;
}
