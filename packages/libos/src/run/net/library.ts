/** The native half of a program's descriptors (native-host), bound. Handles and addresses are numbers. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadLibrary } from '@nestedsgx/os';

export interface HostLibrary {
  open(
    channels: number,
    ram: number,
    ramLength: number,
    spinners: number,
    spinCycles: number,
    limit: number,
  ): number;
  stop(host: number): void;
  close(host: number): void;
  serve(host: number, slot: number): number;
  unpark(host: number, slot: number): void;
  counters(host: number, out: BigUint64Array): void;
  policy(host: number, send: number): void;
  allow(host: number, level: number, name: number): number;
  stream(host: number, index: number, fd: number): number;
  grant(host: number, fd: number): number;
  grants(host: number, socket: number): number;
  socket(host: number, domain: number, type: number, protocol: number): number;
  epoll(host: number): number;
  control(
    host: number,
    op: number,
    index: number,
    a: bigint,
    b: bigint,
    data: Uint8Array,
    length: number,
  ): number;
  /** Address of the function that enters threads (sdk's NativeDriver). */
  readonly drive: number;
}

let loaded: HostLibrary | undefined;

/** Loads libnsgx-libos-host.so of this package. @throws OsError NATIVE_LIBRARY_MISSING */
export function hostLibrary(): HostLibrary {
  if (loaded !== undefined) return loaded;
  const here = dirname(fileURLToPath(import.meta.url));
  const library = loadLibrary(join(here, '../../../../native-host/build/libnsgx-libos-host.so'));
  loaded = {
    open: library.func(
      'uint64_t nsgx_lh_open(uint64_t channels, uint64_t ram, uint64_t ram_length, uint32_t spinners, uint32_t spin_cycles, uint32_t limit)',
    ),
    stop: library.func('void nsgx_lh_stop(uint64_t host)'),
    close: library.func('void nsgx_lh_close(uint64_t host)'),
    serve: library.func('int32_t nsgx_lh_serve(uint64_t host, uint32_t slot)'),
    unpark: library.func('void nsgx_lh_unpark(uint64_t host, uint32_t slot)'),
    counters: library.func('void nsgx_lh_counters(uint64_t host, void *out)'),
    policy: library.func('void nsgx_lh_policy(uint64_t host, uint32_t send)'),
    allow: library.func('int32_t nsgx_lh_allow(uint64_t host, int32_t level, int32_t name)'),
    stream: library.func('int64_t nsgx_lh_stream(uint64_t host, uint32_t index, int32_t fd)'),
    grant: library.func('int64_t nsgx_lh_grant(uint64_t host, int32_t fd)'),
    grants: library.func('int64_t nsgx_lh_grants(uint64_t host, int32_t socket)'),
    socket: library.func(
      'int64_t nsgx_lh_socket(uint64_t host, int32_t domain, int32_t type, int32_t protocol)',
    ),
    epoll: library.func('int64_t nsgx_lh_epoll(uint64_t host)'),
    control: library.func(
      'int64_t nsgx_lh_control(uint64_t host, uint32_t op, uint32_t index, int64_t a, int64_t b, void *data, uint32_t length)',
    ),
    drive: library.symbolAddress('nsgx_lh_drive'),
  };
  return loaded;
}
