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

enum control { BIND = 1, CONNECT, LISTEN, GETSOCKNAME, GETPEERNAME, SETSOCKOPT, GETSOCKOPT, QUEUED, TERMINAL };

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

/* `data` of `length` bytes goes in or comes out; a and b are what the operation says of them. */
EXPORT int64_t nsgx_lh_control(uint64_t host, uint32_t op, uint32_t index, int64_t a, int64_t b, void *data, uint32_t length) {
    struct host *h = (struct host *)host;
    uint32_t kind;
    socklen_t size = length;
    int fd = host_hold(h, index, &kind), value = 0;
    if (fd < 0) return fd;
    int64_t answer = -ENOTSOCK;
    if (op == TERMINAL) answer = kind == KIND_STREAM ? terminal(fd, (uint64_t)a, b, data, length) : -ENOTTY;
    else if (kind == KIND_SOCKET || op == QUEUED) switch (op) {
            case BIND:
                answer = result(bind(fd, data, length));
                break;
            case CONNECT:
                answer = result(connect(fd, data, length));
                break;
            case LISTEN:
                answer = result(listen(fd, (int)a));
                break;
            case GETSOCKNAME:
                answer = getsockname(fd, data, &size) < 0 ? -errno : (int64_t)size;
                break;
            case GETPEERNAME:
                answer = getpeername(fd, data, &size) < 0 ? -errno : (int64_t)size;
                break;
            case SETSOCKOPT:
                answer = result(setsockopt(fd, (int)a, (int)b, data, length));
                break;
            case GETSOCKOPT:
                answer = getsockopt(fd, (int)a, (int)b, data, &size) < 0 ? -errno : (int64_t)size;
                break;
            case QUEUED:
                answer = ioctl(fd, FIONREAD, &value) < 0 ? -errno : value;
                break;
            default:
                answer = -ENOSYS;
        }
    host_release(h, index);
    return answer;
}
