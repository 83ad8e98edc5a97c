/* Unix sockets of type SOCK_SEQPACKET: messages with descriptors, credentials of the peer. */
#include "nsgx_os.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

EXPORT int64_t nsgx_socketpair(int32_t *out) {
  return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out));
}

static int64_t wait_for(int fd, short events, int timeout_ms) {
  struct pollfd p = {.fd = fd, .events = events};
  uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * 1000000ull;
  for (;;) {
    int r = poll(&p, 1, poll_remaining_ms(deadline));
    if (r > 0) return 1;
    if (r == 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

/* Sends one message; waits at most timeout_ms for room (0: not at all). */
EXPORT int64_t nsgx_send(int32_t fd, const void *bytes, uint64_t length, const int32_t *fds, uint32_t fd_count,
                         uint32_t timeout_ms) {
  if (fd_count > MAX_MESSAGE_FDS) return -E2BIG;
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int32_t) * MAX_MESSAGE_FDS)] = {0};
  struct iovec iov = {(void *)(uintptr_t)bytes, length};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  if (fd_count) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int32_t) * fd_count);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int32_t) * fd_count);
    memcpy(CMSG_DATA(c), fds, sizeof(int32_t) * fd_count);
  }
  uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * 1000000ull;
  for (;;) {
    int64_t n = RETRY(sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
    if (n >= 0) return n;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return -errno;
    int left = poll_remaining_ms(deadline);
    if (!left) return -EAGAIN;
    int64_t w = wait_for(fd, POLLOUT, left);
    if (w < 0) return w;
  }
}

void receive_message(int fd, void *buffer, size_t capacity, uint32_t max_fds, struct received *out) {
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int32_t) * MAX_MESSAGE_FDS)];
  struct iovec iov = {buffer, capacity};
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  out->fd_count = 0;
  out->bytes = RETRY(recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (out->bytes < 0) {
    out->bytes = -errno;
    return;
  }
  uint32_t received = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int32_t);
    for (size_t i = 0; i < count; i++) {
      int32_t passed;
      memcpy(&passed, CMSG_DATA(c) + i * sizeof passed, sizeof passed);
      if (received < MAX_MESSAGE_FDS)
        out->fds[received++] = passed;
      else
        close(passed);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || received > max_fds) {
    for (uint32_t i = 0; i < received; i++) close(out->fds[i]);
    out->bytes = -EMSGSIZE;
    return;
  }
  out->fd_count = received;
}

/*
 * As receive_message for a peer that has no descriptors to give: none becomes ours, because closing what a stranger
 * chose (a file of a FUSE server, a socket that lingers) takes as long as the stranger likes.
 */
void receive_bytes(int fd, void *buffer, size_t capacity, struct received *out) {
  struct iovec iov = {buffer, capacity};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  out->fd_count = 0;
  out->bytes = RETRY(recvmsg(fd, &message, MSG_DONTWAIT));
  if (out->bytes < 0)
    out->bytes = -errno;
  else if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
    out->bytes = -EMSGSIZE;
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
/* Peers can no longer send descriptors to this socket, nor to connections accepted from it (Linux 6.16). */
EXPORT int64_t nsgx_refuse_descriptors(int32_t fd) {
  int off = 0;
  return result(setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off));
}

/* Writes the descriptors to fds and their number to *fd_count; returns bytes (0 = end of the connection). */
EXPORT int64_t nsgx_recv(int32_t fd, void *into, uint64_t capacity, uint32_t max_fds, uint32_t timeout_ms,
                         int32_t *fd_count_then_fds) {
  struct received r;
  uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * 1000000ull;
  for (;;) {
    receive_message(fd, into, capacity, max_fds, &r);
    if (r.bytes != -EAGAIN) break;
    int left = poll_remaining_ms(deadline);
    if (!left) return -EAGAIN;
    int64_t w = wait_for(fd, POLLIN, left);
    if (w < 0) return w;
  }
  fd_count_then_fds[0] = (int32_t)r.fd_count;
  memcpy(fd_count_then_fds + 1, r.fds, sizeof(int32_t) * r.fd_count);
  return r.bytes;
}

static int64_t unix_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, n);
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
  return 0;
}

static int64_t fail_closing(int fd) {
  int64_t error = -(int64_t)errno;
  close(fd);
  return error;
}

/* The mode is set before the name appears, so that there is no moment in which others may connect. */
EXPORT int64_t nsgx_listen_unix(const char *path, uint32_t mode, int32_t backlog) {
  struct sockaddr_un address;
  socklen_t length;
  int64_t bad = unix_address(path, &address, &length);
  if (bad) return bad;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (fchmod(fd, (mode_t)mode) < 0) return fail_closing(fd);
  if (bind(fd, (struct sockaddr *)&address, length) < 0) return fail_closing(fd);
  if (chmod(path, (mode_t)mode) < 0 || listen(fd, backlog) < 0) {
    int64_t error = fail_closing(fd);
    unlink(path);
    return error;
  }
  return fd;
}

EXPORT int64_t nsgx_accept(int32_t fd) {
  return result(RETRY(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)));
}

/* A full backlog makes connect() wait: not longer than timeout_ms, then EAGAIN. */
EXPORT int64_t nsgx_connect_unix(const char *path, uint32_t timeout_ms) {
  struct sockaddr_un address;
  socklen_t length;
  int64_t bad = unix_address(path, &address, &length);
  if (bad) return bad;
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct timeval limit = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000}, none = {0, 0};
  if (timeout_ms == 0) limit.tv_usec = 1000;
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (RETRY(connect(fd, (struct sockaddr *)&address, length)) < 0) return fail_closing(fd);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
  return fd;
}

/* out: pid, uid, gid as they were at connect() or socketpair(). */
EXPORT int64_t nsgx_peer_credentials(int32_t fd, int32_t *out) {
  struct ucred c;
  socklen_t length = sizeof c;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &length) < 0) return -errno;
  out[0] = c.pid;
  out[1] = (int32_t)c.uid;
  out[2] = (int32_t)c.gid;
  return 0;
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
EXPORT int64_t nsgx_peer_pidfd(int32_t fd) {
  int pidfd = -1;
  socklen_t length = sizeof pidfd;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) < 0) return -errno;
  return pidfd;
}
