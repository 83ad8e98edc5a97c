/* What a host says with each descriptor that it grants to an enclave by `gate`. */
#ifndef LIBOS_GRANT_H
#define LIBOS_GRANT_H

#include <stdint.h>

#include "channel.h"

enum libos_grant_kind {
    GRANT_PLAIN = 1, /* read and write: pipes and the like; datagrams, whose addresses go by the channel */
    GRANT_STREAM,    /* a stream socket */
    GRANT_FILE,      /* pread and pwrite */
    GRANT_EPOLL,
    GRANT_EVENTS     /* an eventfd for each channel, in their order: what wakes a thread that waits for descriptors */
};

struct libos_grant {
    uint32_t name; /* the program's number */
    uint32_t kind;
};

/* As the other descriptor of IO_EPOLL_CTL: the event of a channel's thread. */
#define GRANT_EVENT 0x10000u
#define GRANT_MOST LIBOS_CHANNELS /* descriptors with one message */

#endif
