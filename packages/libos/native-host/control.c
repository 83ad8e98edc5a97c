/* What makes and configures descriptors: called by Node, once its policy has agreed. Results are −errno or what Linux
 * returns; every descriptor is one of the program's own. */
#include "host.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum control {
    BIND = 1,
    CONNECT,
    LISTEN,
    GETSOCKNAME = CONTROL_GETSOCKNAME,
    GETPEERNAME = CONTROL_GETPEERNAME,
    SETSOCKOPT = CONTROL_SETSOCKOPT,
    GETSOCKOPT = CONTROL_GETSOCKOPT,
    QUEUED = CONTROL_QUEUED,
    TERMINAL
};

static int64_t result(int64_t value) { return value < 0 ? -errno : value; }

/* What is asked of a terminal: its modes, in both directions, and to wait for or drop what is on its way. Not what writes
 * input to it, or takes it from others. */
static int64_t terminal(int fd, uint64_t command, int64_t argument, void *data, uint32_t length) {
    switch (command) {
        case TCGETS:
            return length < sizeof(struct termios) ? -EINVAL : ioctl(fd, TCGETS, data) < 0 ? -errno : (int64_t)sizeof(struct termios);
        case TCSETS:
        case TCSETSW:
        case TCSETSF:
            return length < sizeof(struct termios) ? -EINVAL : result(ioctl(fd, command, data));
        case TCSBRK:
        case TCFLSH:
            return result(ioctl(fd, command, (int)argument));
        default:
            return -ENOTTY;
    }
}

EXPORT void nsgx_lh_policy(uint64_t host, uint32_t send) { ((struct host *)host)->send_policy = send; }

/* The program's 0, 1 and 2. They stay the caller's. */
EXPORT int64_t nsgx_lh_stream(uint64_t host, uint32_t index, int32_t fd) {
    struct descriptor *d = &((struct host *)host)->table[index];
    struct stat status;
    if (index > 2 || fd < 0 || fstat(fd, &status) < 0) return -EBADF;
    d->fd = fd;
    d->kind = KIND_STREAM;
    atomic_store(&d->state, 1);
    return 0;
}

/* Gives a descriptor away: the program's from here on. Files are read and written at positions, others as they are. */
EXPORT int64_t nsgx_lh_grant(uint64_t host, int32_t fd) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -errno;
    return host_add((struct host *)host, fd, S_ISREG(status.st_mode) ? KIND_FILE : KIND_PIPE);
}

EXPORT int64_t nsgx_lh_socket(uint64_t host, int32_t domain, int32_t type, int32_t protocol) {
    int fd = socket(domain, (type & 0xf) | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    return fd < 0 ? -errno : host_add((struct host *)host, fd, KIND_SOCKET);
}

EXPORT int64_t nsgx_lh_epoll(uint64_t host) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : host_add((struct host *)host, fd, KIND_EPOLL);
}

EXPORT int64_t nsgx_lh_release(uint64_t host, uint32_t index) { return host_close((struct host *)host, index); }

static int64_t on_socket(int fd, uint32_t op, int64_t a, int64_t b, void *data, uint32_t length) {
    socklen_t size = length;
    int value = 0;
    switch (op) {
        case BIND:
            return result(bind(fd, data, length));
        case CONNECT:
            return result(connect(fd, data, length));
        case LISTEN:
            return result(listen(fd, (int)a));
        case GETSOCKNAME:
            return getsockname(fd, data, &size) < 0 ? -errno : (int64_t)size;
        case GETPEERNAME:
            return getpeername(fd, data, &size) < 0 ? -errno : (int64_t)size;
        case SETSOCKOPT:
            return result(setsockopt(fd, (int)a, (int)b, data, length));
        case GETSOCKOPT:
            return getsockopt(fd, (int)a, (int)b, data, &size) < 0 ? -errno : (int64_t)size;
        case QUEUED:
            return ioctl(fd, FIONREAD, &value) < 0 ? -errno : value;
        default:
            return -ENOSYS;
    }
}

/* `data` of `length` bytes goes in or comes out; a and b are what the operation says of them. */
EXPORT int64_t nsgx_lh_control(uint64_t host, uint32_t op, uint32_t index, int64_t a, int64_t b, void *data, uint32_t length) {
    struct host *h = (struct host *)host;
    uint32_t kind;
    host_do_all_later(h, NULL);
    int fd = host_hold(h, index, &kind);
    if (fd < 0) return fd;
    int64_t answer = -ENOTSOCK;
    if (op == TERMINAL) answer = kind == KIND_STREAM ? terminal(fd, (uint64_t)a, b, data, length) : -ENOTTY;
    else if (kind == KIND_SOCKET || op == QUEUED) answer = on_socket(fd, op, a, b, data, length);
    host_release(h, index);
    return answer;
}

/* The policy allows to set and ask an option from here on, without being asked each time. */
EXPORT int32_t nsgx_lh_allow(uint64_t host, int32_t level, int32_t name) {
    struct host *h = (struct host *)host;
    if (h->options_allowed == OPTIONS) return -ENOSPC;
    h->options[h->options_allowed++] = (struct option){level, name};
    return 0;
}

static bool allowed(const struct host *h, int64_t level, int64_t name) {
    for (uint32_t i = 0; i < h->options_allowed; i++)
        if (h->options[i].level == level && h->options[i].name == name) return true;
    return false;
}

/* What the enclave asks of a descriptor without Node: nothing that makes or names one, and of options those allowed. */
int64_t host_control(const struct host *h, int fd, uint32_t kind, const uint64_t a[6], void *data) {
    uint8_t copy[LIBOS_CONTROL_ROOM];
    uint64_t op = a[1], length = a[4];
    bool option = op == SETSOCKOPT || op == GETSOCKOPT;
    if (kind != KIND_SOCKET || length > sizeof copy || op < GETSOCKNAME || op > QUEUED) return IO_ASK;
    if (option && !allowed(h, (int64_t)a[2], (int64_t)a[3])) return IO_ASK;
    memcpy(copy, data, length);
    int64_t answer = on_socket(fd, (uint32_t)op, (int64_t)a[2], (int64_t)a[3], copy, (uint32_t)length);
    memcpy(data, copy, length);
    return answer;
}
