/* userfaultfd: mapping, protecting and waking in another process that handed its descriptor over. */
#include "nsgx_os.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif
#define PAGE 4096ull

EXPORT int64_t nsgx_uffd_create(uint64_t features) {
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  if (fd < 0) return -errno;
  struct uffdio_api api = {.api = UFFD_API, .features = features};
  if (ioctl(fd, UFFDIO_API, &api) < 0) {
    int64_t error = -(int64_t)errno;
    close(fd);
    return error;
  }
  return fd;
}

EXPORT int64_t nsgx_uffd_register(int32_t fd, uint64_t address, uint64_t length, uint64_t mode) {
  struct uffdio_register r = {.range = {address, length}, .mode = mode};
  return result(ioctl(fd, UFFDIO_REGISTER, &r));
}

EXPORT int64_t nsgx_uffd_unregister(int32_t fd, uint64_t address, uint64_t length) {
  struct uffdio_range r = {address, length};
  return result(ioctl(fd, UFFDIO_UNREGISTER, &r));
}

/*
 * Maps pages that the file already holds; pages mapped already are passed over. Returns how many were mapped.
 * EAGAIN (the other process is changing its mappings) is retried up to a bound: a hostile one cannot hold us.
 */
EXPORT int64_t nsgx_uffd_continue(int32_t fd, uint64_t address, uint64_t length, int32_t write_protect, int32_t wake) {
  uint64_t done = 0;
  int64_t pages = 0;
  int retries = 0;
  while (done < length) {
    struct uffdio_continue c = {.range = {address + done, length - done},
                                .mode = (wake ? 0 : UFFDIO_CONTINUE_MODE_DONTWAKE) |
                                        (write_protect ? UFFDIO_CONTINUE_MODE_WP : 0)};
    if (ioctl(fd, UFFDIO_CONTINUE, &c) == 0) return pages + (int64_t)((length - done) / PAGE);
    int error = errno;
    if (c.mapped > 0) {
      done += (uint64_t)c.mapped;
      pages += c.mapped / (int64_t)PAGE;
      retries = 0;
    } else if (error == EEXIST) {
      done += PAGE;
    } else if ((error != EAGAIN && error != EINTR) || ++retries > 1000) {
      return -error;
    }
  }
  return pages;
}

EXPORT int64_t nsgx_uffd_write_protect(int32_t fd, uint64_t address, uint64_t length, int32_t on) {
  for (int retries = 0;; retries++) {
    struct uffdio_writeprotect w = {.range = {address, length}, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
    if (ioctl(fd, UFFDIO_WRITEPROTECT, &w) == 0) return 0;
    if ((errno != EAGAIN && errno != EINTR) || retries > 1000) return -errno;
  }
}

EXPORT int64_t nsgx_uffd_wake(int32_t fd, uint64_t address, uint64_t length) {
  struct uffdio_range r = {address, length};
  return result(ioctl(fd, UFFDIO_WAKE, &r));
}
