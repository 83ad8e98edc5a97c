/**
 * The OCALLs of the protected file system of SDKs before files were mapped: files by handle, one node at a time. Enclaves
 * and libraries built with them (Teaclave's among them) are still about.
 * Source: sgx_tprotected_fs.edl and sgx_uprotected_fs.cpp of these SDKs (results and error numbers).
 */
import { closeSync, constants, fstatSync } from 'node:fs';
import { lockFile } from '@nestedsgx/os';
import type { BuiltinHost, BuiltinOcalls } from './builtin-host.js';
import { ERRNO, type FileFolder, refuse } from './file-folder.js';
import { read, write } from './mapped-file.js';
import { attempt, MAX_OPEN } from './protected-files.js';

const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const FAILED = -1;

/** Handlers for one enclave's files in one folder. Handles are numbers that are never used again. */
export function nodeFileOcalls(host: BuiltinHost, folder: FileFolder): BuiltinOcalls {
  const files = new Map<bigint, number>();
  let last = 0n;
  const admit = (fd: number): bigint => {
    files.set(++last, fd);
    return last;
  };
  const room = () => {
    if (host.ended.aborted) refuse(ERRNO.ENODEV);
    if (files.size >= MAX_OPEN) refuse(ERRNO.EMFILE);
  };
  host.ended.addEventListener(
    'abort',
    () => {
      for (const fd of files.values()) closeSync(fd);
      files.clear();
    },
    { once: true },
  );
  /** Runs `body` with the descriptor of a handle and the offset of a node. */
  const node = (handle: bigint, number: bigint, size: number, body: (fd: number, at: number) => void) => {
    const fd = files.get(handle);
    if (fd === undefined) return FAILED;
    const at = number * BigInt(size);
    if (at > BigInt(Number.MAX_SAFE_INTEGER)) return ERRNO.EINVAL;
    return attempt(() => body(fd, Number(at)));
  };
  return {
    u_sgxprotectedfs_exclusive_file_open: (name: string, readOnly: number) => {
      let value = 0n;
      let size = 0;
      const errno = attempt(() => {
        room();
        const fd = folder.open(name, O_CREAT | (readOnly !== 0 ? O_RDONLY : O_RDWR));
        try {
          lockFile(fd, readOnly === 0);
          size = fstatSync(fd).size;
        } catch (error) {
          closeSync(fd);
          throw error;
        }
        value = admit(fd);
      });
      return { value, out: { file_size: BigInt(size), error_code: errno } };
    },

    u_sgxprotectedfs_fread_node: (
      handle: bigint,
      number: bigint,
      buffer: Uint8Array | null,
      size: number,
    ) => {
      if (buffer === null) return FAILED;
      let done = 0;
      const errno = node(handle, number, size, (fd, at) => {
        done = read(fd, buffer, at);
      });
      return errno === 0 && done !== buffer.length ? FAILED : errno;
    },

    u_sgxprotectedfs_fwrite_node: (
      handle: bigint,
      number: bigint,
      buffer: Uint8Array | null,
      size: number,
    ) => (buffer === null ? FAILED : node(handle, number, size, (fd, at) => write(fd, buffer, at))),

    u_sgxprotectedfs_fclose: (handle: bigint) => {
      const fd = files.get(handle);
      if (fd === undefined) return FAILED;
      files.delete(handle);
      return attempt(() => closeSync(fd));
    },

    /** Nothing is kept back in this process. */
    u_sgxprotectedfs_fflush: (handle: bigint) => (files.has(handle) ? 0 : 1),

    u_sgxprotectedfs_recovery_file_open: (name: string) => {
      let value = 0n;
      attempt(() => {
        room();
        value = admit(folder.open(name, O_CREAT | O_TRUNC | O_WRONLY));
      });
      return value;
    },

    u_sgxprotectedfs_fwrite_recovery_node: (handle: bigint, data: Uint8Array | null) => {
      const fd = files.get(handle);
      if (fd === undefined || data === null) return 1;
      return attempt(() => write(fd, data, null)) === 0 ? 0 : 1;
    },
  };
}
