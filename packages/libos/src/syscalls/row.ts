/** One row of the table of system calls. */

/** Errno values that refusals use. */
export const ERRNO = Object.freeze({
  EPERM: 1,
  ENOSYS: 38,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
});

export interface SyscallRow {
  readonly number: number;
  readonly name: string;
  readonly status: 'supported' | 'partial' | 'refused';
  /** What is missing, or why it is refused. */
  readonly note: string;
  /** Module and function of the core, and how many arguments the function takes. */
  readonly module?: string;
  readonly handler?: string;
  readonly argumentCount?: number;
  readonly errno?: keyof typeof ERRNO;
}

/** A call that the core serves: in full, or with a note on what is missing. */
export function on(
  number: number,
  name: string,
  module: string,
  handler: string,
  argumentCount: number,
  note = '',
): SyscallRow {
  return {
    number,
    name,
    status: note === '' ? 'supported' : 'partial',
    note,
    module,
    handler,
    argumentCount,
  };
}

/** A call that is refused with `errno`. */
export function no(number: number, name: string, errno: keyof typeof ERRNO, note: string): SyscallRow {
  return { number, name, status: 'refused', note, errno };
}
