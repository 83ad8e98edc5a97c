/* The host's half of a program's descriptors: its table, the operations on it, and the threads that carry them out. What
 * a program names is an index of its own table; nothing else of the process can be reached. */
#ifndef NSGX_LIBOS_HOST_H
#define NSGX_LIBOS_HOST_H
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"

#define EXPORT __attribute__((visibility("default")))
#define DESCRIPTORS 8192u

/* STREAM: not made non-blocking, as others share it (stdin, stdout, stderr): polled before each use. */
enum kind { KIND_FREE, KIND_STREAM, KIND_PIPE, KIND_SOCKET, KIND_EPOLL, KIND_FILE };

struct descriptor {
    _Atomic uint32_t state; /* OPEN, CLOSING, and above them how many operations use it */
    uint32_t kind;
    int fd;
    _Atomic int error; /* of what was sent later, for the next who asks */
    struct kept *_Atomic kept;
};

enum { RUNNING, ASLEEP_FUTEX, ASLEEP_POLL };

/* One thread of the program. */
struct slot {
    _Alignas(64) struct libos_channel *channel;
    _Atomic uint32_t taken;  /* number of the latest request that somebody carries out */
    _Atomic uint32_t served; /* futex: number of the latest that is done */
    _Atomic uint32_t awaited;
    /* Waiting: a wake-up that came early is kept. */
    _Atomic uint32_t token; /* futex */
    _Atomic uint32_t state;
    int event;
    /* The thread that serves without being called. */
    pthread_t server;
    bool has_server;
    _Atomic uint32_t call; /* futex: 1 to wake it */
    uint32_t hot, hot_needed, looks;
    uint64_t latest_exit;
    int64_t quiet_until, quiet; /* no server before, as others need the processors */
    int64_t waited, spent, good; /* of a server's time: in all, what it was given, and since when all of it */
    /* What is put off (later.c). */
    pthread_mutex_t later;
    _Atomic uint32_t taken_later;
    uint32_t rounds, put_seen, put_idle, idle;
    uint64_t latest_round;
};

/* Options of sockets. */
#define OPTIONS 64u
struct option {
    int32_t level, name;
};

enum { SEND_ANYWHERE, SEND_LOOPBACK, SEND_NOWHERE };

struct host {
    struct slot slots[LIBOS_CHANNELS];
    struct descriptor table[DESCRIPTORS];
    _Atomic uint32_t next; /* where a free descriptor is looked for */
    _Atomic uint32_t stopping, spinners, open;
    uint32_t spinner_limit, spin_cycles, send_policy, limit;
    struct option options[OPTIONS]; /* those that the policy has allowed */
    uint32_t options_allowed;
    int load;   /* /proc/loadavg, or -1 */
    int grants; /* socket over which the enclave is granted descriptors, or -1 */
    _Atomic uint64_t putting; /* slots that may put things off */
    pthread_mutex_t keeping;
    struct kept *all_kept;
    _Atomic uint32_t kept;
    pthread_t watcher;
    _Atomic uint32_t watcher_state; /* futex */
    uint64_t ram, ram_length; /* guest RAM of this host: what an enclave may name */
    _Atomic uint64_t requests, exits;
};

/* table.c */
int host_hold(struct host *h, uint64_t index, uint32_t *kind);
void host_release(struct host *h, uint64_t index);
int64_t host_add(struct host *h, int fd, uint32_t kind);
int64_t host_close(struct host *h, uint64_t index);

/* grant.c */
void host_grant(const struct host *h, uint32_t name, int fd, uint32_t kind);

/* waiting.c */
struct pollfd;
int host_wait(struct host *h, struct slot *s, struct pollfd *fds, uint32_t count, int64_t wait);
int64_t host_park(struct host *h, struct slot *s, int64_t wait);
void host_unpark(struct host *h, uint64_t slot);
long host_futex(_Atomic uint32_t *word, int op, uint32_t value, int64_t nanoseconds);
int64_t host_clock(void);

/* control.c */
int64_t host_control(const struct host *h, int fd, uint32_t kind, const uint64_t a[6], void *data);

/* serve.c: carries out what is posted to a channel and answers it. */
void host_serve(struct host *h, struct slot *s, uint32_t number);
bool host_take(struct slot *s, uint32_t number);
bool host_loopback(const void *address, uint32_t length);

/* later.c */
void host_later_start(struct host *h);
void host_later_end(struct host *h);
bool host_has_later(const struct slot *s);
void host_do_later(struct host *h, struct slot *s);
void host_do_all_later(struct host *h, struct slot *own);
void host_later_round(struct host *h, struct slot *s);
bool host_sends_kept(struct host *h, struct descriptor *d);
bool host_keeps_shutdown(struct host *h, struct descriptor *d, int how);
void host_forgets_kept(struct host *h, struct descriptor *d);
void host_look_ahead(struct host *h, struct slot *s, uint32_t count);

/* server.c */
void host_called(struct host *h, struct slot *s);

#endif
