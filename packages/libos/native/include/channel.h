/* What a thread of a program shares with its host: one request at a time, its answer, and a buffer for data. All of it is
 * untrusted memory that both sides write; each copies a field once and checks the copy. */
#ifndef LIBOS_CHANNEL_H
#define LIBOS_CHANNEL_H

#include <stdint.h>

#define LIBOS_CHANNELS 64u
#define LIBOS_CHANNEL_DATA 4096u                  /* where the data of a channel begin */
#define LIBOS_CHANNEL_ROOM (128u * 1024u)         /* and how many there can be */
#define LIBOS_CHANNEL_STRIDE (LIBOS_CHANNEL_DATA + LIBOS_CHANNEL_ROOM)
#define LIBOS_ADDRESS_ROOM 128u

/* Waits of an operation: nanoseconds, 0 for none, -1 for ever. */
enum libos_io {
    IO_READ = 1,   /* descriptor, length, wait */
    IO_WRITE,      /* descriptor, length, wait */
    IO_PREAD,      /* descriptor, length, offset */
    IO_PWRITE,     /* descriptor, length, offset */
    IO_RECVFROM,   /* descriptor, length, wait, flags; the address comes with the answer */
    IO_SENDTO,     /* descriptor, length, wait, flags, length of the address */
    IO_POLL,       /* count, wait; struct libos_pollfd in the data */
    IO_EPOLL_WAIT, /* descriptor, count, wait; struct libos_event in the data */
    IO_EPOLL_CTL,  /* descriptor, operation, other descriptor, events, data */
    IO_PARK,       /* wait */
    IO_UNPARK,     /* slot */
    IO_ACCEPT,     /* descriptor, wait; the address comes with the answer */
    IO_CLOSE,      /* descriptor */
    IO_SHUTDOWN    /* descriptor, how */
};
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

struct libos_pollfd {
    int32_t fd;
    int16_t events, revents;
};

struct libos_event {
    uint32_t events;
    uint64_t data;
} __attribute__((packed));

#endif
