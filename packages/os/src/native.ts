import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OsError } from './errors.js';

/** A function of a native library. Addresses are numbers, byte buffers are Uint8Array. */
// biome-ignore lint/suspicious/noExplicitAny: the signature is known to the FFI module only
export type NativeFunction = (...args: any[]) => any;

/** The part of the FFI module (koffi) that is used here; its own native module alone provides it as well. */
export interface ForeignFunctions {
  load(path: string): { func(definition: string): NativeFunction; symbol(name: string): unknown };
  view(pointer: unknown, length: number): ArrayBuffer;
  address(value: unknown): bigint;
  node: {
    poll(fd: number, options: { readable?: boolean }, callback: () => void): PollHandle;
  };
}

/** A libuv poll handle. */
export interface PollHandle {
  stop(): void;
  close(): void;
  ref(): void;
  unref(): void;
}

/** An open native library: functions bound once by their C declaration, and addresses of symbols. */
export interface NativeLibrary {
  readonly path: string;
  func(definition: string): NativeFunction;
  symbolAddress(name: string): number;
}

/* One C declaration per function of libnsgx-os. A name after " as " is the name here: one function may be bound
 * with different parameter kinds, since a number and a byte buffer take different paths through the FFI module. */
const DECLARATIONS = {
  memfdCreate: 'int64_t nsgx_memfd_create(const char *name, uint32_t flags)',
  memfdSecret: 'int64_t nsgx_memfd_secret()',
  fchmod: 'int64_t nsgx_fchmod(int32_t fd, uint32_t mode)',
  addSeals: 'int64_t nsgx_add_seals(int32_t fd, int32_t seals)',
  getSeals: 'int64_t nsgx_get_seals(int32_t fd)',
  ftruncate: 'int64_t nsgx_ftruncate(int32_t fd, uint64_t size)',
  fstatSize: 'int64_t nsgx_fstat_size(int32_t fd)',
  fstatAllocated: 'int64_t nsgx_fstat_allocated(int32_t fd)',
  fallocate: 'int64_t nsgx_fallocate(int32_t fd, int32_t mode, uint64_t offset, uint64_t length)',
  pread: 'int64_t nsgx_pread(int32_t fd, void *into, uint64_t length, uint64_t offset)',
  pwrite: 'int64_t nsgx_pwrite(int32_t fd, void *from, uint64_t length, uint64_t offset)',
  mmap: 'int64_t nsgx_mmap(uint64_t address, uint64_t length, int32_t prot, int32_t flags, int32_t fd, uint64_t offset)',
  munmap: 'int64_t nsgx_munmap(uint64_t address, uint64_t length)',
  mprotect: 'int64_t nsgx_mprotect(uint64_t address, uint64_t length, int32_t prot)',
  madvise: 'int64_t nsgx_madvise(uint64_t address, uint64_t length, int32_t advice)',
  mlock: 'int64_t nsgx_mlock(uint64_t address, uint64_t length)',
  munlock: 'int64_t nsgx_munlock(uint64_t address, uint64_t length)',
  wipe: 'int64_t nsgx_wipe(void *bytes, uint64_t length)',
  addressOf: 'uint64_t nsgx_address_of(void *bytes)',
  cpuid: 'int64_t nsgx_cpuid(uint32_t leaf, uint32_t subleaf, void *out)',
  enabledState: 'uint32_t nsgx_enabled_state()',
  lockFile: 'int64_t nsgx_lock_file(int32_t fd, int32_t exclusive)',
  rdtsc: 'double nsgx_rdtsc()',
  tscHz: 'double nsgx_tsc_hz(uint32_t ms)',
  futexWake: 'int64_t nsgx_futex_wake(uint64_t address, int32_t count)',
  futexWait: 'int64_t nsgx_futex_wait(uint64_t address, uint32_t expected, uint32_t timeout_us)',
  futexRequeue: 'int64_t nsgx_futex_requeue(uint64_t from, uint64_t to, int32_t wake, int32_t move)',
  ring: 'int64_t nsgx_ring(uint64_t word, uint64_t asleep)',
  spinThenWait:
    'uint32_t nsgx_spin_then_wait(uint64_t word, uint32_t expected, uint32_t spin_cycles, uint32_t timeout_us, uint64_t asleep)',
  waiterWait: 'uint32_t nsgx_waiter_wait(void *waiter, uint32_t expected, uint32_t timeout_us)',
  close: 'int64_t nsgx_close(int32_t fd)',
  dup: 'int64_t nsgx_dup(int32_t fd)',
  pipe: 'int64_t nsgx_pipe(void *out)',
  eventfd: 'int64_t nsgx_eventfd(uint32_t initial)',
  setNonblocking: 'int64_t nsgx_set_nonblocking(int32_t fd, int32_t on)',
  setCloexec: 'int64_t nsgx_set_cloexec(int32_t fd, int32_t on)',
  getCloexec: 'int64_t nsgx_get_cloexec(int32_t fd)',
  open: 'int64_t nsgx_open(const char *path, int32_t flags, uint32_t mode)',
  read: 'int64_t nsgx_read(int32_t fd, void *into, uint64_t length)',
  write: 'int64_t nsgx_write(int32_t fd, void *from, uint64_t length)',
  poll: 'int64_t nsgx_poll(void *entries, uint32_t count, int32_t timeout_ms)',
  socketpair: 'int64_t nsgx_socketpair(void *out)',
  send: 'int64_t nsgx_send(int32_t fd, void *bytes, uint64_t length, void *fds, uint32_t fd_count, uint32_t timeout_ms)',
  recv: 'int64_t nsgx_recv(int32_t fd, void *into, uint64_t capacity, uint32_t max_fds, uint32_t timeout_ms, void *fds)',
  refuseDescriptors: 'int64_t nsgx_refuse_descriptors(int32_t fd)',
  listenUnix: 'int64_t nsgx_listen_unix(const char *path, uint32_t mode, int32_t backlog)',
  accept: 'int64_t nsgx_accept(int32_t fd)',
  connectUnix: 'int64_t nsgx_connect_unix(const char *path, uint32_t timeout_ms)',
  peerCredentials: 'int64_t nsgx_peer_credentials(int32_t fd, void *out)',
  peerPidfd: 'int64_t nsgx_peer_pidfd(int32_t fd)',
  pidfdOpen: 'int64_t nsgx_pidfd_open(int32_t pid)',
  pidfdSignal: 'int64_t nsgx_pidfd_signal(int32_t pidfd, int32_t signal_number)',
  pidfdGetFd: 'int64_t nsgx_pidfd_getfd(int32_t pidfd, int32_t fd)',
  wait: 'int64_t nsgx_wait(int32_t by_pidfd, int32_t id, int32_t nohang, void *out)',
  prctl: 'int64_t nsgx_prctl(int32_t option, uint64_t a, uint64_t b, uint64_t c, uint64_t d)',
  gettid: 'int64_t nsgx_gettid()',
  getcpu: 'int64_t nsgx_getcpu()',
  setAffinity: 'int64_t nsgx_set_affinity(int32_t pid, void *mask, uint32_t bytes)',
  setAffinityOne: 'int64_t nsgx_set_affinity_one(int32_t pid, uint32_t cpu)',
  getAffinity: 'int64_t nsgx_get_affinity(int32_t pid, void *mask, uint32_t bytes)',
  getRlimit: 'int64_t nsgx_get_rlimit(int32_t pid, int32_t resource, void *values)',
  setRlimit: 'int64_t nsgx_set_rlimit(int32_t pid, int32_t resource, double soft, double hard)',
  processVmRead: 'int64_t nsgx_process_vm_read(int32_t pid, uint64_t address, void *into, uint64_t length)',
  processVmWrite: 'int64_t nsgx_process_vm_write(int32_t pid, uint64_t address, void *from, uint64_t length)',
  ptraceAttach: 'int64_t nsgx_ptrace_attach(int32_t pid)',
  become: 'int64_t nsgx_become(uint32_t uid, uint32_t gid)',
  spawn: 'int64_t nsgx_spawn(void *request, uint64_t size, void *out)',
  guardInstall: 'int64_t nsgx_guard_install()',
  guardedCopy: 'uint64_t nsgx_guarded_copy(uint64_t destination, uint64_t source, uint64_t length)',
  guardedRead: 'uint64_t nsgx_guarded_copy(void *destination, uint64_t source, uint64_t length)',
  guardedWrite: 'uint64_t nsgx_guarded_copy(uint64_t destination, void *source, uint64_t length)',
  uffdCreate: 'int64_t nsgx_uffd_create(uint64_t features)',
  uffdRegister: 'int64_t nsgx_uffd_register(int32_t fd, uint64_t address, uint64_t length, uint64_t mode)',
  uffdUnregister: 'int64_t nsgx_uffd_unregister(int32_t fd, uint64_t address, uint64_t length)',
  uffdContinue:
    'int64_t nsgx_uffd_continue(int32_t fd, uint64_t address, uint64_t length, int32_t write_protect, int32_t wake)',
  uffdWriteProtect:
    'int64_t nsgx_uffd_write_protect(int32_t fd, uint64_t address, uint64_t length, int32_t on)',
  uffdWake: 'int64_t nsgx_uffd_wake(int32_t fd, uint64_t address, uint64_t length)',
  gcmCreate: 'int64_t nsgx_gcm_create(void *key)',
  gcmDestroy: 'int64_t nsgx_gcm_destroy(uint64_t context)',
  gcmSeal:
    'int64_t nsgx_gcm_seal(uint64_t context, void *iv, void *header, void *page, void *out, void *tag)',
  gcmOpen:
    'int64_t nsgx_gcm_open(uint64_t context, void *iv, void *header, void *page, void *out, void *tag)',
  pumpCreate: 'int64_t nsgx_pump_create(uint64_t wake, uint64_t asleep)',
  pumpPendingAddress: 'int64_t nsgx_pump_pending_address(uint64_t pump)',
  pumpAdd: 'int64_t nsgx_pump_add(uint64_t pump, int32_t fd, uint32_t token, int32_t kind)',
  pumpRemove: 'int64_t nsgx_pump_remove(uint64_t pump, uint32_t token)',
  pumpDrain: 'int64_t nsgx_pump_drain(uint64_t pump, void *into, uint64_t capacity)',
  pumpClose: 'int64_t nsgx_pump_close(uint64_t pump)',
  poolCreate: 'int64_t nsgx_pool_create(uint32_t max_threads, int32_t follow)',
  poolEvent: 'int64_t nsgx_pool_event(uint64_t pool)',
  poolCompletions: 'int64_t nsgx_pool_completions(uint64_t pool)',
  poolSubmit: 'int64_t nsgx_pool_submit(uint64_t pool, uint64_t function, uint64_t argument, uint32_t id)',
  poolCollect: 'int64_t nsgx_pool_collect(uint64_t pool)',
  poolStop: 'int64_t nsgx_pool_stop(uint64_t pool, void *out)',
  poolDestroy: 'int64_t nsgx_pool_destroy(uint64_t pool)',
} as const;

/** Every function of the library, bound. */
export type Native = Record<keyof typeof DECLARATIONS, NativeFunction>;

let configuration: { koffi?: object; libraryPath?: string } = {};
let foreign: ForeignFunctions | undefined;
let loaded: Native | undefined;
let library: ReturnType<ForeignFunctions['load']> | undefined;

/**
 * Says where the native parts come from, before their first use: `koffi` is the FFI module itself (for instance
 * the exports of its .node loaded from a memory file), `libraryPath` the file of libnsgx-os.so. What is left out
 * keeps its default: the installed koffi package, and the file built inside this package.
 *
 * @throws OsError NATIVE_ALREADY_LOADED
 */
export function configureNative(options: { koffi?: object; libraryPath?: string }): void {
  if (loaded || (foreign && options.koffi)) {
    throw new OsError('NATIVE_ALREADY_LOADED', 'The native library is already loaded.', {
      advice: 'Call configureNative() before any other function of this package.',
    });
  }
  configuration = { ...configuration, ...options };
}

/** This file's path, as an ES module and as part of a CommonJS bundle. Evaluated only when it is needed. */
function here(): string {
  return typeof __filename === 'string' && isAbsolute(__filename)
    ? __filename
    : fileURLToPath(import.meta.url);
}

/** The library built inside this package: the file that is measured when nothing else is configured. */
export function packageLibraryPath(): string {
  return resolve(dirname(here()), '../../native/build/libnsgx-os.so');
}

function foreignFunctions(): ForeignFunctions {
  if (foreign) return foreign;
  let module = configuration.koffi as (ForeignFunctions & { default?: ForeignFunctions }) | undefined;
  if (!module) {
    try {
      module = createRequire(here())('koffi') as ForeignFunctions;
    } catch (cause) {
      throw new OsError('NATIVE_LIBRARY_MISSING', 'The FFI module koffi could not be loaded.', {
        advice: 'Run npm install on this machine (x86-64 Linux).',
        cause,
      });
    }
  }
  foreign = typeof module.load === 'function' ? module : module.default;
  if (typeof foreign?.load !== 'function') {
    foreign = undefined;
    throw new OsError('NATIVE_LIBRARY_MISSING', 'The FFI module given to configureNative() is not koffi.', {
      advice: 'Pass the exports of koffi, or of its native module.',
    });
  }
  return foreign;
}

function openLibrary(path: string): ReturnType<ForeignFunctions['load']> {
  try {
    return foreignFunctions().load(path);
  } catch (cause) {
    if (cause instanceof OsError) throw cause;
    throw new OsError('NATIVE_LIBRARY_MISSING', `The native library ${path} could not be loaded.`, {
      advice: existsSync(path)
        ? 'Rebuild it on this machine: npm run build.'
        : 'Build it: npm run build (needs gcc and make).',
      cause,
    });
  }
}

/**
 * Loads libnsgx-os.so, from `path`, else as configured, else from this package. Calling it is optional: every
 * function of this package does. A second call does nothing.
 *
 * @throws OsError NATIVE_LIBRARY_MISSING
 */
export function loadNative(path?: string): Native {
  if (loaded) return loaded;
  const file = path ?? configuration.libraryPath ?? packageLibraryPath();
  library = openLibrary(file);
  const table: Partial<Native> = {};
  for (const [name, declaration] of Object.entries(DECLARATIONS)) {
    table[name as keyof Native] = library.func(declaration);
  }
  loaded = table as Native;
  return loaded;
}

/** The bound functions; loads the library on first use. */
export function native(): Native {
  return loaded ?? loadNative();
}

/** Address of a function of libnsgx-os itself. */
export function nativeSymbol(name: string): number {
  native();
  return Number(foreignFunctions().address(library!.symbol(name)));
}

/** Opens another native library through the same FFI module. */
export function loadLibrary(path: string): NativeLibrary {
  const library = openLibrary(path);
  return {
    path,
    func: (definition) => library.func(definition),
    symbolAddress: (name) => Number(foreignFunctions().address(library.symbol(name))),
  };
}

/** A view of native memory. The memory must stay mapped as long as the view is used. Limits: 1 … 2³²−1 bytes. */
export function viewOf(address: number, length: number): Uint8Array {
  return new Uint8Array(foreignFunctions().view(address, length));
}

/** A libuv poll handle that calls back while `fd` is readable. */
export function pollReadable(fd: number, callback: () => void): PollHandle {
  return foreignFunctions().node.poll(fd, { readable: true }, callback);
}
