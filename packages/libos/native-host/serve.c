/* Operations on descriptors. Everything in a channel was written by the enclave: it is copied once and then checked. */
#include "host.h"

#include "grant.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_POLL 1024u
#define MAX_EVENTS 1024u
/* What a pipe that is ready for writing takes at once. */
#define STREAM_PIECE 4096u
#define RECEIVE_FLAGS (MSG_PEEK | MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE)
#define SEND_FLAGS (MSG_OOB | MSG_DONTROUTE | MSG_MORE | MSG_EOR | MSG_CONFIRM)

_Static_assert(sizeof(struct libos_pollfd) == sizeof(struct pollfd), "struct pollfd");
_Static_assert(sizeof(struct libos_event) == sizeof(struct epoll_event), "struct epoll_event");

struct operation {
    struct host *host;
    struct slot *slot;
    struct libos_channel *channel;
    uint8_t *data;
    uint64_t a[6];
    int fd;
    uint32_t kind;
};

static int64_t failed(void) { return -errno; }

/* 1 when the descriptor is ready for `events`; 0 when that is not so in time, IO_WOKEN, or an errno. */
static int64_t await(struct operation *o, short events, int64_t wait) {
    struct pollfd fds[2] = {{o->fd, events, 0}};
    int ready = host_wait(o->host, o->slot, fds, 1, wait);
    return ready > 0 ? 1 : ready;
}

static uint64_t bounded(uint64_t length) { return length < LIBOS_CHANNEL_ROOM ? length : LIBOS_CHANNEL_ROOM; }

/* Streams are not non-blocking: they are asked first. */
static int64_t stream(struct operation *o, bool write_it) {
    uint64_t length = bounded(o->a[1]), done = 0;
    do {
        int64_t ready = await(o, write_it ? POLLOUT : POLLIN, (int64_t)o->a[2]);
        if (ready <= 0) return done > 0 ? (int64_t)done : ready == 0 ? -EAGAIN : ready;
        uint64_t part = write_it && length - done > STREAM_PIECE ? STREAM_PIECE : length - done;
        ssize_t moved = write_it ? write(o->fd, o->data + done, part) : read(o->fd, o->data, part);
        if (moved < 0 && errno == EINTR) continue;
        if (moved < 0) return done > 0 ? (int64_t)done : failed();
        done += (uint64_t)moved;
        if (!write_it || moved == 0) break;
    } while (done < length);
    return (int64_t)done;
}

/* What a send that was put off ran into, once. */
static int64_t late_error(struct operation *o) {
    struct descriptor *d = &o->host->table[o->a[0]];
    return atomic_load(&d->error) == 0 ? 0 : -(int64_t)atomic_exchange(&d->error, 0);
}

static int64_t receive(struct operation *o, int flags) {
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    uint64_t length = bounded(o->a[1]);
    int64_t late = late_error(o);
    if (late != 0) return late;
    for (;;) {
        ssize_t got = o->kind == KIND_SOCKET
                          ? recvfrom(o->fd, o->data, length, flags | MSG_DONTWAIT, (struct sockaddr *)&from, &size)
                          : read(o->fd, o->data, length);
        if (got >= 0) {
            if (size > sizeof from || o->kind != KIND_SOCKET) size = 0;
            memcpy(o->channel->address, &from, size < LIBOS_ADDRESS_ROOM ? size : LIBOS_ADDRESS_ROOM);
            o->channel->address_length = size;
            return got;
        }
        if (errno != EAGAIN) return failed();
        int64_t ready = o->a[2] == 0 ? 0 : await(o, POLLIN, (int64_t)o->a[2]);
        if (ready <= 0) return ready == 0 ? -EAGAIN : ready;
    }
}

/* 127.0.0.0/8, ::1 and what is mapped there. */
bool host_loopback(const void *address, uint32_t length) {
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    sa_family_t family = AF_UNSPEC;
    if (length >= sizeof family) memcpy(&family, address, sizeof family);
    if (family == AF_INET && length >= sizeof four) {
        memcpy(&four, address, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24 == 127;
    }
    if (family == AF_INET6 && length >= sizeof six) {
        memcpy(&six, address, sizeof six);
        return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) && six.sin6_addr.s6_addr[12] == 127);
    }
    return false;
}

static int64_t put(struct operation *o, int flags, uint32_t address_length) {
    uint8_t to[LIBOS_ADDRESS_ROOM];
    uint64_t length = bounded(o->a[1]);
    if (address_length > sizeof to) return -EINVAL;
    memcpy(to, o->channel->address, address_length);
    int64_t late = late_error(o);
    if (late != 0) return late;
    if (address_length > 0 && o->host->send_policy != SEND_ANYWHERE && !host_loopback(to, address_length)) return -EACCES;
    for (;;) {
        if (!host_sends_kept(o->host, &o->host->table[o->a[0]])) {
            int64_t ready = o->a[2] == 0 ? 0 : await(o, POLLOUT, (int64_t)o->a[2]);
            if (ready <= 0) return ready == 0 ? -EAGAIN : ready;
            continue;
        }
        ssize_t sent = o->kind == KIND_SOCKET ? sendto(o->fd, o->data, length, flags | MSG_DONTWAIT | MSG_NOSIGNAL,
                                                       address_length > 0 ? (struct sockaddr *)to : NULL, address_length)
                                              : write(o->fd, o->data, length);
        if (sent >= 0) return sent;
        if (errno != EAGAIN) return failed();
        int64_t ready = o->a[2] == 0 ? 0 : await(o, POLLOUT, (int64_t)o->a[2]);
        if (ready <= 0) return ready == 0 ? -EAGAIN : ready;
    }
}

static int64_t accept_one(struct operation *o) {
    struct sockaddr_storage from;
    for (;;) {
        socklen_t size = sizeof from;
        int fd = accept4(o->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (size > LIBOS_ADDRESS_ROOM) size = 0;
            memcpy(o->channel->address, &from, size);
            o->channel->address_length = size;
            return host_add(o->host, fd, KIND_SOCKET);
        }
        if (errno != EAGAIN) return failed();
        int64_t ready = o->a[1] == 0 ? 0 : await(o, POLLIN, (int64_t)o->a[1]);
        if (ready <= 0) return ready == 0 ? -EAGAIN : ready;
    }
}

static int64_t wait_events(struct operation *o) {
    struct epoll_event events[MAX_EVENTS];
    int64_t wait = (int64_t)o->a[2];
    int limit = o->a[1] < MAX_EVENTS ? (int)o->a[1] : (int)MAX_EVENTS;
    if (o->kind != KIND_EPOLL || limit <= 0) return -EINVAL;
    int count = epoll_wait(o->fd, events, limit, 0);
    if (count == 0 && wait != 0) {
        int64_t ready = await(o, POLLIN, wait);
        if (ready <= 0) return ready;
        count = epoll_wait(o->fd, events, limit, 0);
    }
    if (count < 0) return failed();
    memcpy(o->data, events, (size_t)count * sizeof *events);
    if (o->host->grants < 0) {
        host_later_round(o->host, o->slot);
        if (o->a[3] == 1) host_look_ahead(o->host, o->slot, (uint32_t)count);
    }
    return count;
}

static int64_t poll_all(struct operation *o) {
    struct pollfd fds[MAX_POLL + 1];
    int32_t names[MAX_POLL];
    uint64_t count = o->a[0];
    if (count > MAX_POLL) return -EINVAL;
    memcpy(fds, o->data, count * sizeof *fds);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind;
        names[i] = fds[i].fd;
        fds[i].fd = host_hold(o->host, (uint64_t)(uint32_t)fds[i].fd, &kind);
        fds[i].revents = 0;
    }
    int ready = host_wait(o->host, o->slot, fds, (uint32_t)count, (int64_t)o->a[1]);
    for (uint32_t i = 0; i < count; i++) {
        if (fds[i].fd >= 0) host_release(o->host, (uint32_t)names[i]);
        else fds[i].revents = POLLNVAL;
        fds[i].fd = names[i];
    }
    memcpy(o->data, fds, count * sizeof *fds);
    return ready;
}

static int64_t control_events(struct operation *o) {
    uint32_t kind;
    struct epoll_event event = {.events = (uint32_t)o->a[3], .data = {.u64 = o->a[4]}};
    if (o->kind != KIND_EPOLL) return -EINVAL;
    /* What wakes a thread that waits by `gate` (transport/gate.c). */
    if (o->host->grants >= 0 && o->a[2] >= GRANT_EVENT && o->a[2] - GRANT_EVENT < LIBOS_CHANNELS)
        return epoll_ctl(o->fd, EPOLL_CTL_ADD, o->host->slots[o->a[2] - GRANT_EVENT].event, &event) < 0 ? failed() : 0;
    int other = host_hold(o->host, o->a[2], &kind);
    if (other < 0) return other;
    int64_t result = epoll_ctl(o->fd, (int)o->a[1], other, &event) < 0 ? failed() : 0;
    host_release(o->host, o->a[2]);
    return result;
}

static int64_t on_descriptor(struct operation *o, uint32_t op) {
    ssize_t moved;
    switch (op) {
        case IO_READ:
            return o->kind == KIND_STREAM ? stream(o, false) : receive(o, 0);
        case IO_WRITE:
            return o->kind == KIND_STREAM ? stream(o, true) : put(o, 0, 0);
        case IO_RECVFROM:
            return o->kind == KIND_SOCKET ? receive(o, (int)o->a[3] & RECEIVE_FLAGS) : -ENOTSOCK;
        case IO_SENDTO:
            return o->kind == KIND_SOCKET ? put(o, (int)o->a[3] & SEND_FLAGS, (uint32_t)o->a[4]) : -ENOTSOCK;
        case IO_PREAD:
            moved = o->kind == KIND_FILE ? pread(o->fd, o->data, bounded(o->a[1]), (off_t)o->a[2]) : (errno = ESPIPE, -1);
            return moved < 0 ? failed() : moved;
        case IO_PWRITE:
            moved = o->kind == KIND_FILE ? pwrite(o->fd, o->data, bounded(o->a[1]), (off_t)o->a[2]) : (errno = ESPIPE, -1);
            return moved < 0 ? failed() : moved;
        case IO_SYNC:
            return o->kind != KIND_FILE ? -EINVAL : fdatasync(o->fd) < 0 ? failed() : 0;
        case IO_ACCEPT:
            return o->kind == KIND_SOCKET ? accept_one(o) : -ENOTSOCK;
        case IO_EPOLL_WAIT:
            return wait_events(o);
        case IO_EPOLL_CTL:
            return control_events(o);
        case IO_CONTROL:
            return host_control(o->host, o->fd, o->kind, o->a, o->data);
        case IO_SHUTDOWN:
            if (o->kind != KIND_SOCKET) return -ENOTSOCK;
            if (host_keeps_shutdown(o->host, &o->host->table[o->a[0]], (int)o->a[1])) return 0;
            return shutdown(o->fd, (int)o->a[1]) < 0 ? failed() : 0;
        default:
            return -ENOSYS;
    }
}

static int64_t carry_out(struct host *h, struct slot *s, uint32_t op, struct operation *o) {
    switch (op) {
        case IO_PARK:
            return host_park(h, s, (int64_t)o->a[0]);
        case IO_UNPARK:
            host_unpark(h, o->a[0]);
            return 0;
        case IO_POLL:
            return poll_all(o);
        case IO_CLOSE:
            return host_close(h, o->a[0]);
        case IO_NOTHING:
            return 0;
        default: {
            o->fd = host_hold(h, o->a[0], &o->kind);
            if (o->fd < 0) return o->fd;
            int64_t result = on_descriptor(o, op);
            host_release(h, o->a[0]);
            return result;
        }
    }
}

/* Whether the caller is the one to carry out a request. */
bool host_take(struct slot *s, uint32_t number) {
    uint32_t taken = atomic_load(&s->taken);
    return taken != number && atomic_compare_exchange_strong(&s->taken, &taken, number);
}

void host_serve(struct host *h, struct slot *s, uint32_t number) {
    struct libos_channel *channel = s->channel;
    struct operation o = {h, s, channel, (uint8_t *)channel + LIBOS_CHANNEL_DATA, {0}, -1, 0};
    uint32_t op = *(volatile uint32_t *)&channel->op;
    for (int i = 0; i < 6; i++) o.a[i] = *(volatile uint64_t *)&channel->argument[i];
    host_do_all_later(h, s);
    channel->result = carry_out(h, s, op, &o);
    atomic_fetch_add_explicit(&h->requests, 1, memory_order_relaxed);
    __atomic_store_n(&channel->done, number, __ATOMIC_RELEASE);
    atomic_store(&s->served, number);
    if (atomic_load(&s->awaited) != 0) host_futex(&s->served, FUTEX_WAKE, 1, -1);
}
