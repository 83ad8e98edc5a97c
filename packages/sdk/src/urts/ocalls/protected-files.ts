/**
 * The OCALLs of the SDK's protected file system: files that are mapped (SDK 2.26), and in the recovery of interrupted
 * writes. Those of older SDKs, node by node, are in `node-files.ts`.
 * Source: sgx_tprotected_fs.edl, sgx_uprotected_fs.cpp (results and error numbers).
 */
import { closeSync, constants, fstatSync, fsyncSync } from 'node:fs';
import type { BuiltinHost, BuiltinOcalls } from './builtin-host.js';
import { ERRNO, errnoOf, type FileFolder, refuse } from './file-folder.js';
import { MappedFile, NODE_BYTES, read, write } from './mapped-file.js';

const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
/** Files that may be open at a time. */
export const MAX_OPEN = 1024;
/** What flushes of the enclave wrote reaches the file within this time, in milliseconds. */
const WRITE_BACK_MS = 200;
/** A failure without error number. */
const FAILED = -1;

/** Mappings of this process that change files: what they hold is written when the process ends. */
const writable = new Set<MappedFile>();
const onExit = () => {
  for (const file of writable) attempt(() => file.writeBack(true));
};
let timer: NodeJS.Timeout | undefined;

/** Begins or ends the writing back of a mapping beside the calls of its enclave. */
function watch(file: MappedFile, on: boolean): void {
  if (file.readOnly) return;
  if (on) writable.add(file);
  else writable.delete(file);
  if (writable.size > 0 && timer === undefined) {
    timer = setInterval(() => {
      for (const other of writable) attempt(() => other.writeBack(false));
    }, WRITE_BACK_MS).unref();
    process.on('exit', onExit);
  } else if (writable.size === 0) {
    clearInterval(timer);
    timer = undefined;
    process.off('exit', onExit);
  }
}

/** Error number of a file operation: 0 when it succeeded. @throws what is no failure of an operation */
export function attempt(body: () => void): number {
  try {
    body();
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

/** Handlers for one enclave's files in one folder. */
export function protectedFileOcalls(host: BuiltinHost, folder: FileFolder): BuiltinOcalls {
  const open = new Map<bigint, MappedFile>();
  const mapped = (address: bigint): MappedFile => open.get(address) ?? refuse(ERRNO.EINVAL);
  const remove = (address: bigint, file: MappedFile): void => {
    open.delete(address);
    watch(file, false);
    file.close();
  };
  host.ended.addEventListener(
    'abort',
    () => {
      for (const [address, file] of open) attempt(() => remove(address, file));
    },
    { once: true },
  );
  return {
    /** Names that cannot be looked at count as taken: opening or removing them then says why. */
    u_sgxprotectedfs_check_if_file_exists: (name: string) => {
      let exists = false;
      const errno = attempt(() => {
        exists = folder.exists(name);
      });
      return exists || (errno !== 0 && errno !== ERRNO.ENOENT) ? 1 : 0;
    },

    u_sgxprotectedfs_exclusive_file_map: (name: string, readOnly: number) => {
      let value = 0n;
      let size = 0;
      const errno = attempt(() => {
        if (host.ended.aborted) refuse(ERRNO.ENODEV);
        if (open.size >= MAX_OPEN) refuse(ERRNO.EMFILE);
        const fd = folder.open(name, O_CREAT | (readOnly !== 0 ? O_RDONLY : O_RDWR));
        const file = new MappedFile(fd, name, readOnly !== 0, host.memory);
        value = file.address;
        size = file.sizeAtOpen;
        open.set(value, file);
        watch(file, true);
      });
      return { value, out: { file_size: BigInt(size), error_code: errno } };
    },

    u_sgxprotectedfs_file_remap: (name: string, address: bigint, oldSize: bigint, newSize: bigint) => {
      if (newSize === oldSize) return { value: FAILED, out: { file_addr: address } };
      let moved = address;
      const value = attempt(() => {
        const file = mapped(address);
        if (file.name !== name || BigInt(file.size) !== oldSize || newSize < NODE_BYTES || file.readOnly)
          refuse(ERRNO.EINVAL);
        if (newSize > BigInt(Number.MAX_SAFE_INTEGER)) refuse(ERRNO.EFBIG);
        file.resize(Number(newSize));
        moved = file.address;
        open.delete(address);
        open.set(moved, file);
      });
      return { value, out: { file_addr: moved } };
    },

    u_sgxprotectedfs_file_unmap: (address: bigint, size: bigint) =>
      attempt(() => {
        const file = mapped(address);
        if (BigInt(file.size) !== size) refuse(ERRNO.EINVAL);
        remove(address, file);
      }),

    u_sgxprotectedfs_remove: (name: string) => attempt(() => folder.remove(name)),

    /** Called before a flush touches the file: what the last flush wrote must be in it first. */
    u_sgxprotectedfs_fwrite_recovery_file: (
      address: bigint,
      name: string,
      numbers: readonly bigint[] | null,
    ) => {
      const errno = attempt(() => {
        const file = mapped(address);
        writeNew(folder, name, file.beginFlush(numbers ?? []));
      });
      return errno === 0 ? 0 : 1;
    },

    /** The third argument is that of older SDKs. */
    u_sgxprotectedfs_do_file_recovery: (name: string, recovery: string, nodeBytes = NODE_BYTES) =>
      recover(folder, name, recovery, nodeBytes),
  };
}

/** Writes a file anew; removes it when that fails. @throws what `errnoOf` knows */
function writeNew(folder: FileFolder, name: string, parts: Iterable<Uint8Array>): void {
  const fd = folder.open(name, O_CREAT | O_TRUNC | O_WRONLY);
  try {
    for (const part of parts) write(fd, part, null);
  } catch (error) {
    attempt(() => folder.remove(name));
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Puts the nodes that a recovery file keeps back into a file, then removes the recovery file. */
function recover(folder: FileFolder, name: string, recovery: string, nodeBytes: number): number {
  let from: number | undefined;
  let to: number | undefined;
  try {
    from = orNothing(() => folder.open(recovery, O_RDONLY));
    if (from === undefined) return FAILED;
    const step = 8 + nodeBytes;
    const { size } = fstatSync(from);
    if (nodeBytes === 0 || nodeBytes > 2 ** 20 || size % step !== 0) return ERRNO.ENOTSUP;
    to = orNothing(() => folder.open(name, O_RDWR));
    if (to === undefined) return FAILED;
    const nodes = BigInt(Math.floor(fstatSync(to).size / nodeBytes));
    const record = new Uint8Array(step);
    const view = new DataView(record.buffer);
    for (let at = 0; at < size; at += step) {
      if (read(from, record, at) !== step) return ERRNO.EIO;
      const number = view.getBigUint64(0, true);
      // Recovery restores nodes that were there: a number beyond the end would grow the file without bound.
      if (number >= nodes) return ERRNO.ENOTSUP;
      write(to, record.subarray(8), Number(number) * nodeBytes);
    }
    fsyncSync(to);
    folder.remove(recovery);
    return 0;
  } catch (error) {
    return errnoOf(error);
  } finally {
    if (from !== undefined) closeSync(from);
    if (to !== undefined) closeSync(to);
  }
}

function orNothing<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    errnoOf(error);
    return undefined;
  }
}
