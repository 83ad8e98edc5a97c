/* What a thread of a program shares with its host: one request at a time, its answer, and a buffer for data. All of it is
 * untrusted memory that both sides write; each copies a field once and checks the copy. */
#ifndef LIBOS_CHANNEL_H
#define LIBOS_CHANNEL_H

#include <stdint.h>

#define LIBOS_CHANNELS 64u
#define LIBOS_CHANNEL_DATA 4096u                  /* where the data of a channel begin */
#define LIBOS_CHANNEL_ROOM (128u * 1024u)         /* and how many there can be */
#define LIBOS_CHANNEL_LATER (LIBOS_CHANNEL_DATA + LIBOS_CHANNEL_ROOM) /* struct libos_later */
#define LIBOS_CHANNEL_STRIDE (LIBOS_CHANNEL_LATER + 64u * 1024u)
#define LIBOS_ADDRESS_ROOM 128u
#define LIBOS_LATER_ENTRIES 64u
#define LIBOS_LATER_ROOM (32u * 1024u)
#define LIBOS_AHEAD_ENTRIES 64u
#define LIBOS_AHEAD_ROOM (28u * 1024u)

/* Waits of an operation: nanoseconds, 0 for none, -1 for ever. */
enum libos_io {
    IO_READ = 1,   /* descriptor, length, wait */
    IO_WRITE,      /* descriptor, length, wait */
    IO_PREAD,      /* descriptor, length, offset */
    IO_PWRITE,     /* descriptor, length, offset */
    IO_RECVFROM,   /* descriptor, length, wait, flags; the address comes with the answer */
    IO_SENDTO,     /* descriptor, length, wait, flags, length of the address */
    IO_POLL,       /* count, wait; struct libos_pollfd in the data */
    IO_EPOLL_WAIT, /* descriptor, count, wait, whether to look ahead; struct libos_event in the data */
    IO_EPOLL_CTL,  /* descriptor, operation, other descriptor, events, data: its upper half names the other once more */
    IO_PARK,       /* wait */
    IO_UNPARK,     /* slot */
    IO_ACCEPT,     /* descriptor, wait; the address comes with the answer */
    IO_CLOSE,      /* descriptor */
    IO_SHUTDOWN,   /* descriptor, how */
    IO_NOTHING,    /* but what was put off */
    IO_CONTROL,    /* descriptor, enum libos_control, level, name, length of the data: IO_ASK where C may not decide */
    IO_SYNC        /* descriptor: what was written to the file is durable */
};
/* What of sockets is asked, and set where the policy has allowed it before (packages/libos/src/run/net). */
enum libos_control { CONTROL_GETSOCKNAME = 4, CONTROL_GETPEERNAME, CONTROL_SETSOCKOPT, CONTROL_GETSOCKOPT, CONTROL_QUEUED };
#define LIBOS_CONTROL_ROOM 4096u
/* Nothing was done: a call out through the policy is to decide. */
#define IO_ASK (-513)
/* The wait of an operation was ended by IO_UNPARK; nothing was done. */
#define IO_WOKEN (-512)

struct libos_channel {
    _Alignas(64) uint32_t posted; /* number of the latest request; the enclave's */
    uint32_t op;
    uint64_t argument[6];
    _Alignas(64) uint32_t done; /* number of the latest request that has its answer; the host's from here on */
    uint32_t address_length;
    int64_t result;
    _Alignas(64) uint32_t attentive; /* whether somebody looks at `posted` without being called */
    _Alignas(64) uint8_t address[LIBOS_ADDRESS_ROOM]; /* struct sockaddr, of either */
};

/* What need not be done at once: what is put here is done before anything else that is asked for, by whatever thread, or
 * after two milliseconds, in its order. */
enum libos_later_op {
    LATER_SEND = 1, /* `length` bytes from `at` of the data */
    LATER_TAKE,     /* as many bytes that were seen ahead have been read */
    LATER_CLOSE,
    LATER_WATCH /* by the epoll `other`: operation `length`, events `at`, data `number` and the descriptor's name */
};
struct libos_later_entry {
    uint32_t op, fd, length, at, other, number;
};
/* What was seen of a connection by who waited for events, and is still there. */
struct libos_ahead {
    uint32_t fd, length, at;
};
struct libos_later {
    _Alignas(64) uint32_t put; /* how many entries there have been; the enclave's, as they are */
    _Alignas(64) uint32_t taken; /* how many of them are done; the host's from here on */
    uint32_t welcome; /* whether entries may be put */
    uint32_t aheads;
    struct libos_ahead ahead[LIBOS_AHEAD_ENTRIES];
    _Alignas(64) struct libos_later_entry entries[LIBOS_LATER_ENTRIES];
    _Alignas(4096) uint8_t data[LIBOS_LATER_ROOM];
    uint8_t seen[LIBOS_AHEAD_ROOM];
};
_Static_assert(sizeof(struct libos_later) <= 64 * 1024, "room behind the data");

struct libos_pollfd {
    int32_t fd;
    int16_t events, revents;
};

struct libos_event {
    uint32_t events;
    uint64_t data;
} __attribute__((packed));

#endif
