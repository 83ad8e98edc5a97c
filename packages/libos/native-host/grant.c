/* Granting descriptors to the enclave itself, for the transport `gate`: each goes with its name, before the program learns
 * it. What cannot be granted is served by the channel. */
#include "host.h"

#include "grant.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool send_grant(const struct host *h, uint32_t name, uint32_t kind, const int *fds, size_t count) {
    struct libos_grant grant = {name, kind};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * GRANT_MOST)] = {0};
    struct iovec part = {&grant, sizeof grant};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    return sendmsg(h->grants, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof grant;
}

static uint32_t grant_kind(int fd, uint32_t kind) {
    int type = 0;
    socklen_t length = sizeof type;
    switch (kind) {
        case KIND_PIPE:
            return GRANT_PLAIN;
        case KIND_FILE:
            return GRANT_FILE;
        case KIND_EPOLL:
            return GRANT_EPOLL;
        case KIND_SOCKET:
            if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return 0;
            return type == SOCK_STREAM ? GRANT_STREAM : GRANT_PLAIN;
        default:
            return 0;
    }
}

void host_grant(const struct host *h, uint32_t name, int fd, uint32_t kind) {
    if (h->grants < 0) return;
    uint32_t what = grant_kind(fd, kind);
    if (what != 0) send_grant(h, name, what, &fd, 1);
}

/* From here on descriptors are granted over `socket`, which stays the caller's; first the events of the threads. */
EXPORT int64_t nsgx_lh_grants(uint64_t host, int32_t socket) {
    struct host *h = (struct host *)host;
    int events[LIBOS_CHANNELS];
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) events[i] = h->slots[i].event;
    h->grants = socket;
    return send_grant(h, 0, GRANT_EVENTS, events, LIBOS_CHANNELS) ? 0 : -errno;
}
