import { check } from './errors.js';
import * as linux from './linux.js';
import { native } from './native.js';

/** Features with which a runner's userfaultfd is made: faults become SIGBUS, for missing and minor, WP on shmem. */
export const UFFD_FEATURES =
  linux.UFFD_FEATURE_SIGBUS |
  linux.UFFD_FEATURE_MISSING_SHMEM |
  linux.UFFD_FEATURE_MINOR_SHMEM |
  linux.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

/** Makes a userfaultfd for this process (user-mode faults only). @throws OsError EPERM, ENOSYS, EINVAL */
export function uffdCreate(features = UFFD_FEATURES): number {
  return check(native().uffdCreate(features), 'userfaultfd');
}

/** Registers a range of this process (UFFDIO_REGISTER_MODE_* flags, default all three). */
export function uffdRegister(uffd: number, address: number, length: number, mode = 7): void {
  check(native().uffdRegister(uffd, address, length, mode), 'UFFDIO_REGISTER');
}

export function uffdUnregister(uffd: number, address: number, length: number): void {
  check(native().uffdUnregister(uffd, address, length), 'UFFDIO_UNREGISTER');
}

/**
 * Maps pages that the memory file holds already into the process that made `uffd`; pages mapped before are left
 * as they are. `writeProtect` maps without W (Linux 6.4). Returns the number of pages mapped now.
 *
 * @throws OsError EFAULT (the file has no such page), ENOENT (range not registered), ESRCH (the process ended)
 */
export function uffdContinue(
  uffd: number,
  address: number,
  length: number,
  options: { writeProtect?: boolean; wake?: boolean } = {},
): number {
  return check(
    native().uffdContinue(
      uffd,
      address,
      length,
      options.writeProtect ? 1 : 0,
      options.wake === false ? 0 : 1,
    ),
    'UFFDIO_CONTINUE',
  );
}

/** Takes W away from mapped pages of the other process (`on`), or gives it back. */
export function uffdWriteProtect(uffd: number, address: number, length: number, on: boolean): void {
  check(native().uffdWriteProtect(uffd, address, length, on ? 1 : 0), 'UFFDIO_WRITEPROTECT');
}

/** Wakes threads that wait for a page of the range. */
export function uffdWake(uffd: number, address: number, length: number): void {
  check(native().uffdWake(uffd, address, length), 'UFFDIO_WAKE');
}

/** Whether an ordinary process may use userfaultfd as the runner needs it; the reason if not. */
export function uffdSupported(): { supported: true } | { supported: false; reason: string } {
  const fd: number = native().uffdCreate(UFFD_FEATURES);
  if (fd >= 0) {
    native().close(fd);
    return { supported: true };
  }
  try {
    check(fd, 'userfaultfd');
  } catch (error) {
    return { supported: false, reason: (error as Error).message };
  }
  return { supported: true };
}
