/* Memory files, mappings and what belongs to them. */
#include "nsgx_os.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

EXPORT int64_t nsgx_memfd_create(const char *name, uint32_t flags) { return result(memfd_create(name, flags)); }

EXPORT int64_t nsgx_memfd_secret(void) {
#ifdef SYS_memfd_secret
  return result(syscall(SYS_memfd_secret, O_CLOEXEC));
#else
  return -ENOSYS;
#endif
}

EXPORT int64_t nsgx_fchmod(int32_t fd, uint32_t mode) { return result(fchmod(fd, (mode_t)mode)); }

EXPORT int64_t nsgx_add_seals(int32_t fd, int32_t seals) { return result(fcntl(fd, F_ADD_SEALS, seals)); }

EXPORT int64_t nsgx_get_seals(int32_t fd) { return result(fcntl(fd, F_GET_SEALS)); }

EXPORT int64_t nsgx_ftruncate(int32_t fd, uint64_t size) { return result(RETRY(ftruncate(fd, (off_t)size))); }

EXPORT int64_t nsgx_fstat_size(int32_t fd) {
  struct stat st;
  if (fstat(fd, &st) < 0) return -errno;
  return st.st_size;
}

/* Bytes of memory or disk that the file really occupies. */
EXPORT int64_t nsgx_fstat_allocated(int32_t fd) {
  struct stat st;
  if (fstat(fd, &st) < 0) return -errno;
  return (int64_t)st.st_blocks * 512;
}

EXPORT int64_t nsgx_fallocate(int32_t fd, int32_t mode, uint64_t offset, uint64_t length) {
  return result(RETRY(fallocate(fd, mode, (off_t)offset, (off_t)length)));
}

/* Reads until `length` bytes or the end of the file. */
EXPORT int64_t nsgx_pread(int32_t fd, void *into, uint64_t length, uint64_t offset) {
  uint64_t done = 0;
  while (done < length) {
    int64_t n = RETRY(pread(fd, (char *)into + done, length - done, (off_t)(offset + done)));
    if (n < 0) return done ? (int64_t)done : -errno;
    if (n == 0) break;
    done += (uint64_t)n;
  }
  return (int64_t)done;
}

/* Writes all bytes; a short write is continued. */
EXPORT int64_t nsgx_pwrite(int32_t fd, const void *from, uint64_t length, uint64_t offset) {
  uint64_t done = 0;
  while (done < length) {
    int64_t n = RETRY(pwrite(fd, (const char *)from + done, length - done, (off_t)(offset + done)));
    if (n < 0) return done ? (int64_t)done : -errno;
    if (n == 0) break;
    done += (uint64_t)n;
  }
  return (int64_t)done;
}

EXPORT int64_t nsgx_mmap(uint64_t address, uint64_t length, int32_t prot, int32_t flags, int32_t fd, uint64_t offset) {
  void *p = mmap((void *)address, length, prot, flags, fd, (off_t)offset);
  if (p == MAP_FAILED) return -errno;
  if (address && p != (void *)address) { /* a kernel that takes MAP_FIXED_NOREPLACE for a hint */
    munmap(p, length);
    return -EEXIST;
  }
  return (int64_t)(uintptr_t)p;
}

EXPORT int64_t nsgx_munmap(uint64_t address, uint64_t length) { return result(munmap((void *)address, length)); }

EXPORT int64_t nsgx_mprotect(uint64_t address, uint64_t length, int32_t prot) {
  return result(mprotect((void *)address, length, prot));
}

EXPORT int64_t nsgx_madvise(uint64_t address, uint64_t length, int32_t advice) {
  return result(madvise((void *)address, length, advice));
}

EXPORT int64_t nsgx_mlock(uint64_t address, uint64_t length) { return result(mlock((void *)address, length)); }

EXPORT int64_t nsgx_munlock(uint64_t address, uint64_t length) { return result(munlock((void *)address, length)); }

/* Overwrites with zeros in a way that the compiler keeps. */
EXPORT int64_t nsgx_wipe(void *bytes, uint64_t length) {
  explicit_bzero(bytes, length);
  return 0;
}

EXPORT uint64_t nsgx_address_of(void *bytes) { return (uint64_t)(uintptr_t)bytes; }
