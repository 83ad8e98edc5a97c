/**
 * What both halves of switchless calls share, in guest RAM: configuration, counters of workers, and for each direction a
 * bitmap of lines and an array of tasks. The enclave checks that all of it lies outside, and keeps its own copies of the
 * addresses; what it finds there later it does not trust, and neither do we.
 * Source: Intel SGX SDK, struct sl_uswitchless, sl_workers, sl_call_mngr and sl_siglines, sgx_uswitchless_config_t.
 */
import { SWITCHLESS_MAX_WORDS, SWITCHLESS_TASK } from '@nestedsgx/cpu/host';
import type { GuestBlock, GuestMemory } from '@nestedsgx/guest';
import type { SwitchlessConfig } from './switchless-options.js';

/** Offsets in the structure whose address the enclave is given (packed, x86-64). */
export const USWITCHLESS = Object.freeze({
  size: 416,
  config: Object.freeze({
    poolWords: 0,
    untrustedWorkers: 8,
    trustedWorkers: 16,
    retriesBeforeFallback: 24,
    retriesBeforeSleep: 32,
  }),
  /** Set by the enclave when it left for an OCALL that nobody took in time. */
  missedOcall: 104,
  ocalls: 112,
  ecalls: 176,
  /** Trusted workers leave when it is not 0. */
  shouldStop: 240,
  untrustedWorkers: 248,
  trustedWorkers: 320,
  wakeWorkers: 400,
  initialised: 408,
});

/** Offsets in a call manager. */
export const CALL_MANAGER = Object.freeze({
  size: 64,
  type: 0,
  direction: 8,
  lineCount: 16,
  eventLines: 24,
  freeLines: 32,
  tasks: 48,
});

/** Offsets in what describes the workers of one side. */
export const WORKERS = Object.freeze({
  size: 72,
  handle: 0,
  type: 8,
  processed: 16,
  missed: 24,
  all: 40,
  running: 48,
  sleeping: 56,
});

const LINES_PER_WORD = 64;
const LINES = SWITCHLESS_MAX_WORDS * LINES_PER_WORD;
const TASKS = LINES * SWITCHLESS_TASK.size;
// Each part on cache lines of its own.
const OCALL_EVENTS = 512;
const ECALL_EVENTS = OCALL_EVENTS + 128;
const OCALL_TASKS = 1024;
const ECALL_TASKS = OCALL_TASKS + TASKS;
const SIZE = ECALL_TASKS + TASKS;

/** The shared structures of one enclave. */
export class SharedLines {
  readonly block: GuestBlock;
  readonly #memory: GuestMemory;
  readonly #view: DataView;

  /** @throws GUEST_MEMORY_EXHAUSTED */
  constructor(memory: GuestMemory, config: SwitchlessConfig) {
    this.#memory = memory;
    this.block = memory.alloc(SIZE, { alignment: 4096, zero: true });
    const { bytes, address } = this.block;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, SIZE);
    const at = USWITCHLESS;
    this.#put(at.config.poolWords, config.words);
    this.#put(at.config.untrustedWorkers, config.untrustedWorkers);
    this.#put(at.config.trustedWorkers, config.trustedWorkers);
    this.#put(at.config.retriesBeforeFallback, config.retriesBeforeFallback);
    this.#put(at.config.retriesBeforeSleep, config.retriesBeforeSleep);
    this.#manager(at.ocalls, 0, config.words, OCALL_EVENTS, OCALL_TASKS);
    this.#manager(at.ecalls, 1, config.words, ECALL_EVENTS, ECALL_TASKS);
    this.#workers(at.untrustedWorkers, 0, config.untrustedWorkers);
    this.#workers(at.trustedWorkers, 1, config.trustedWorkers);
    this.#put(at.initialised, 1);
    // A task that nobody has filled names no function: 0 is one.
    for (const tasks of [OCALL_TASKS, ECALL_TASKS])
      for (let i = 0; i < LINES; i++)
        bytes.fill(0xff, tasks + i * SWITCHLESS_TASK.size + 8, tasks + i * SWITCHLESS_TASK.size + 16);
    this.address = address;
  }

  /** What the enclave is given. */
  readonly address: number;

  /** What the native half is opened with. */
  setup(config: SwitchlessConfig): BigUint64Array {
    const at = (offset: number) => BigInt(this.address + offset);
    return new BigUint64Array([
      at(OCALL_EVENTS),
      at(OCALL_TASKS),
      at(ECALL_EVENTS),
      at(ECALL_TASKS),
      at(USWITCHLESS.missedOcall),
      BigInt(config.words),
      BigInt(config.retriesBeforeFallback),
      BigInt(config.retriesBeforeSleep),
    ]);
  }

  /** Function and data of an OCALL's task, copied once; undefined when they cannot be any. */
  ocall(line: number): { index: number; pointer: number } | undefined {
    const at = OCALL_TASKS + line * SWITCHLESS_TASK.size;
    const view = this.#view;
    const index = view.getUint32(at + SWITCHLESS_TASK.at.function, true);
    const data = at + SWITCHLESS_TASK.at.data;
    const pointer = view.getUint32(data, true) + view.getUint32(data + 4, true) * 2 ** 32;
    if (view.getUint32(at + SWITCHLESS_TASK.at.function + 4, true) !== 0 || index > 0x7fff_ffff)
      return undefined;
    return { index, pointer };
  }

  /** Whether the enclave has left for an OCALL that nobody took since this was asked last. */
  missedOcall(): boolean {
    if (this.#view.getUint32(USWITCHLESS.missedOcall, true) === 0) return false;
    this.#put(USWITCHLESS.missedOcall, 0);
    return true;
  }

  /** What the enclave counted of its OCALLs: claims, not facts. */
  ocallCounts(): { processed: number; missed: number } {
    const count = (field: number) =>
      Number(this.#view.getBigUint64(USWITCHLESS.untrustedWorkers + field, true));
    return { processed: count(WORKERS.processed), missed: count(WORKERS.missed) };
  }

  set trustedRunning(count: number) {
    this.#put(USWITCHLESS.trustedWorkers + WORKERS.running, count);
  }

  /** Asks trusted workers to leave. */
  stop(): void {
    this.#put(USWITCHLESS.shouldStop, 1);
    this.#put(USWITCHLESS.untrustedWorkers + WORKERS.running, 0);
  }

  free(): void {
    this.#memory.free(this.block);
  }

  #manager(at: number, kind: 0 | 1, words: number, events: number, tasks: number): void {
    const { address } = this.block;
    this.#put(at + CALL_MANAGER.type, kind);
    this.#put(at + CALL_MANAGER.direction, kind);
    this.#put(at + CALL_MANAGER.lineCount, words * LINES_PER_WORD);
    this.#put(at + CALL_MANAGER.eventLines, address + events);
    this.#put(at + CALL_MANAGER.tasks, address + tasks);
  }

  #workers(at: number, kind: 0 | 1, count: number): void {
    this.#put(at + WORKERS.handle, this.block.address);
    this.#put(at + WORKERS.type, kind);
    this.#put(at + WORKERS.all, count);
    this.#put(at + WORKERS.running, count);
  }

  #put(at: number, value: number): void {
    this.#view.setBigUint64(at, BigInt(value), true);
  }
}
