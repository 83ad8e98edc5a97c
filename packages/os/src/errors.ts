import { constants } from 'node:os';

/**
 * Codes of {@link OsError} that this package gives advice for, each with a one-line meaning. A failed system call
 * carries the kernel's own name for the error as its code, so codes outside this table are possible too.
 */
export const OS_ERRORS: Readonly<Record<string, string>> = Object.freeze({
  NATIVE_LIBRARY_MISSING: 'The native library or the FFI module could not be loaded.',
  NATIVE_ALREADY_LOADED: 'configureNative() was called after the native library was loaded.',
  ARGUMENT_INVALID: 'A number, size or descriptor given to an operating-system function is out of range.',
  MAPPING_CLOSED: 'A memory mapping was used after unmap().',
  MESSAGE_TRUNCATED: 'A message or its descriptors were larger than the receiver allows; it was dropped.',
  CALL_QUEUE_FULL: 'More asynchronous native calls are waiting than the pool accepts.',
  CALL_POOL_CLOSED: 'An asynchronous native call was submitted to, or was waiting in, a closed pool.',
  EACCES: 'The kernel refused access.',
  EADDRINUSE: 'Another process listens on this socket path.',
  EAGAIN: 'The operation would have to wait, or a limit on processes or threads is reached.',
  EBADF: 'The file descriptor is not open.',
  EBUSY: 'The object is in use, for instance a write seal while writable mappings exist.',
  ECONNREFUSED: 'Nobody listens on this socket path any more.',
  EEXIST: 'Something exists there already, for instance a mapping at a fixed address.',
  EMFILE: 'This process has as many open descriptors as its limit allows.',
  ENAMETOOLONG: 'A path is too long, for a unix socket more than 107 bytes.',
  ENOENT: 'The file or socket path does not exist.',
  ENOMEM: 'Memory, or the number of memory mappings, is exhausted.',
  ENOSPC: 'The memory file system is full.',
  ENOSYS: 'This kernel does not have the system call, or a container refuses it.',
  EPERM: 'The kernel refused the operation: a seal, a missing right, or a container’s seccomp profile.',
  ESRCH: 'The process does not exist any more.',
});

const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Stop the process that listens there, or choose another path.',
  ECONNREFUSED: 'Start the process that should listen there; a left-over socket file can be deleted.',
  EMFILE: 'Raise the limit on open files (ulimit -n).',
  ENAMETOOLONG: 'Choose a shorter path; a unix socket path has at most 107 bytes.',
  ENOMEM: 'Free memory, raise vm.max_map_count, or raise RLIMIT_MEMLOCK for locked memory.',
  ENOSPC: 'Free memory: memory files live in RAM and swap.',
  ENOSYS: 'Use Linux 5.13 or newer, and allow the call in the container’s seccomp profile.',
  EEXIST: 'Choose another address or path.',
  ESRCH: 'Start the process again.',
};

/** Cures that depend on the call. */
const CALL_ADVICE: Readonly<Record<string, string>> = {
  'EPERM ftruncate': 'The file is sealed against changes of its size; create a new one instead.',
  'EPERM fcntl': 'The file was created without sealing, or is sealed against further seals.',
  'EBUSY fcntl': 'Unmap every writable mapping of the file before sealing it against writes.',
  'EPERM userfaultfd': 'Allow userfaultfd in the container’s seccomp profile.',
  'EPERM pidfd_open': 'Allow pidfd_open in the container’s seccomp profile.',
  'EACCES memfd_create': 'vm.memfd_noexec forbids executable memory files; set it to 0 or 1.',
  'ENOMEM mlock': 'Raise RLIMIT_MEMLOCK (ulimit -l).',
  'EAGAIN clone': 'Raise the limit on processes (ulimit -u) or the cgroup’s pids.max.',
  'EACCES execve': 'Make the file executable, and check that its file system is not mounted noexec.',
  'EAGAIN sendmsg': 'The peer does not read its messages; close the connection.',
};

const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!NAMES.has(number) && name !== 'EWOULDBLOCK' && name !== 'EOPNOTSUPP') NAMES.set(number, name);
}

/** Name of an error number, e.g. 13 → "EACCES"; "E<number>" when libc has no name for it. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/**
 * A failed operating-system call, or a misuse of this package.
 *
 * `code` is the kernel's name of the error ("EPERM") or a row of {@link OS_ERRORS}; `errno` its positive number
 * (0 when no system call failed); `syscall` the call; `advice` what to do about it, where there is a usual cure.
 */
export class OsError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string | undefined;
  readonly advice: string | undefined;

  constructor(
    code: string,
    message: string,
    options: { errno?: number; syscall?: string; advice?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'OsError';
    this.code = code;
    this.errno = options.errno ?? 0;
    this.syscall = options.syscall;
    this.advice = options.advice;
  }
}

/** The error of a system call that failed with `errno` (positive). */
export function systemError(errno: number, syscall: string, detail?: string): OsError {
  const code = errnoName(errno);
  const what = OS_ERRORS[code] ?? 'The system call failed.';
  return new OsError(code, `${syscall}${detail ? ` (${detail})` : ''}: ${code}. ${what}`, {
    errno,
    syscall,
    advice: CALL_ADVICE[`${code} ${syscall}`] ?? ADVICE[code],
  });
}

/** Passes results ≥ 0 through; throws {@link OsError} for −errno. */
export function check(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw systemError(-result, syscall, detail);
  return result;
}

/** Throws ARGUMENT_INVALID unless `value` is an integer of [min, max]. */
export function checkInteger(value: number, name: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new OsError('ARGUMENT_INVALID', `${name} is ${value}, not an integer from ${min} to ${max}.`, {
      advice: `Pass ${name} as an integer within that range.`,
    });
  }
  return value;
}
