/* File descriptors. Everything made here is close-on-exec. */
#include "nsgx_os.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

EXPORT int64_t nsgx_close(int32_t fd) { /* Linux frees the number even when close() reports EINTR */
  return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

EXPORT int64_t nsgx_dup(int32_t fd) { return result(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

EXPORT int64_t nsgx_pipe(int32_t *out) { return result(pipe2(out, O_CLOEXEC)); }

EXPORT int64_t nsgx_eventfd(uint32_t initial) { return result(eventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK)); }

EXPORT int64_t nsgx_set_nonblocking(int32_t fd, int32_t on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  return result(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

EXPORT int64_t nsgx_set_cloexec(int32_t fd, int32_t on) { return result(fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0)); }

EXPORT int64_t nsgx_get_cloexec(int32_t fd) { return result(fcntl(fd, F_GETFD)); }

EXPORT int64_t nsgx_open(const char *path, int32_t flags, uint32_t mode) {
  return result(RETRY(open(path, flags | O_CLOEXEC, (mode_t)mode)));
}

EXPORT int64_t nsgx_read(int32_t fd, void *into, uint64_t length) { return result(RETRY(read(fd, into, length))); }

EXPORT int64_t nsgx_write(int32_t fd, const void *from, uint64_t length) {
  return result(RETRY(write(fd, from, length)));
}

/* timeout_ms < 0 waits without end. Entries are struct pollfd. */
EXPORT int64_t nsgx_poll(void *entries, uint32_t count, int32_t timeout_ms) {
  uint64_t deadline = monotonic_ns() + (timeout_ms > 0 ? (uint64_t)timeout_ms * 1000000ull : 0);
  for (;;) {
    int r = poll(entries, count, timeout_ms < 0 ? -1 : poll_remaining_ms(deadline));
    if (r >= 0) return r;
    if (errno != EINTR) return -errno;
  }
}
