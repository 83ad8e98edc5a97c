/** native-host/files.c, bound. Names are bytes that end in zero; results are minus an errno, or what Linux returns. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadLibrary } from '@nestedsgx/os';

export interface FileCalls {
  open(folder: number, name: Uint8Array, flags: number, mode: number): number;
  reopen(fd: number, flags: number): number;
  stat(folder: number, name: Uint8Array, out: BigUint64Array): number;
  list(fd: number, to: Uint8Array, room: number): number;
  mkdir(folder: number, name: Uint8Array, mode: number): number;
  unlink(folder: number, name: Uint8Array, isFolder: number): number;
  rename(folder: number, name: Uint8Array, to: number, newName: Uint8Array, flags: number): number;
  link(folder: number, name: Uint8Array, to: number, newName: Uint8Array): number;
  symlink(target: Uint8Array, folder: number, name: Uint8Array): number;
  readlink(folder: number, name: Uint8Array, to: Uint8Array, room: number): number;
  chmod(fd: number, mode: number): number;
  chown(folder: number, name: Uint8Array, uid: number, gid: number): number;
  times(folder: number, name: Uint8Array, times: BigInt64Array): number;
  truncate(fd: number, size: bigint): number;
  allocate(fd: number, mode: number, offset: bigint, length: bigint): number;
  sync(fd: number): number;
  append(fd: number, on: number): number;
  space(fd: number, out: BigUint64Array): number;
  borrow(host: number, index: number): number;
}

let loaded: FileCalls | undefined;

/** Binds the functions on first use. @throws OsError NATIVE_LIBRARY_MISSING */
export function fileCalls(): FileCalls {
  if (loaded !== undefined) return loaded;
  const here = dirname(fileURLToPath(import.meta.url));
  const library = loadLibrary(join(here, '../../../../native-host/build/libnsgx-libos-host.so'));
  const bind = (name: string, parameters: string) => library.func(`int64_t nsgx_lf_${name}(${parameters})`);
  loaded = {
    open: bind('open', 'int32_t folder, void *name, int32_t flags, uint32_t mode'),
    reopen: bind('reopen', 'int32_t fd, int32_t flags'),
    stat: bind('stat', 'int32_t folder, void *name, void *out'),
    list: bind('list', 'int32_t fd, void *to, uint32_t room'),
    mkdir: bind('mkdir', 'int32_t folder, void *name, uint32_t mode'),
    unlink: bind('unlink', 'int32_t folder, void *name, int32_t is_folder'),
    rename: bind('rename', 'int32_t folder, void *name, int32_t to, void *new_name, uint32_t flags'),
    link: bind('link', 'int32_t folder, void *name, int32_t to, void *new_name'),
    symlink: bind('symlink', 'void *target, int32_t folder, void *name'),
    readlink: bind('readlink', 'int32_t folder, void *name, void *to, uint32_t room'),
    chmod: bind('chmod', 'int32_t fd, uint32_t mode'),
    chown: bind('chown', 'int32_t folder, void *name, uint32_t uid, uint32_t gid'),
    times: bind('times', 'int32_t folder, void *name, void *times'),
    truncate: bind('truncate', 'int32_t fd, int64_t size'),
    allocate: bind('allocate', 'int32_t fd, int32_t mode, int64_t offset, int64_t length'),
    sync: bind('sync', 'int32_t fd'),
    append: bind('append', 'int32_t fd, int32_t on'),
    space: bind('space', 'int32_t fd, void *out'),
    borrow: bind('borrow', 'uint64_t host, uint32_t index'),
  };
  return loaded;
}
