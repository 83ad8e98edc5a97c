/*
 * What the enclave puts off, so that one call out serves for many requests (channel.h): done by whoever serves next, in the
 * order in which it was put, else by a thread that looks every millisecond. Entries are the enclave's to write: each is
 * copied once and then checked. A socket that does not take all of what its program has been told is sent keeps the rest
 * here, and nothing is put off until that is gone.
 */
#include "host.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <x86intrin.h>

#define TICK_NS 1000000
#define GUARD_NS 50000000
#define STACK_BYTES (64 * 1024)
/* Rounds of events this close to each other, and as many, make it worth while. */
#define CLOSE_CYCLES 3000000u
#define ROUNDS 8u
#define IDLE_TICKS 50u
/* Looked at ahead of one connection; one that has more is read by its program. */
#define AHEAD_PIECE 2048u
/* How long the end of a program may take to send what it has sent. */
#define LAST_MS 1000

enum { NO_WATCHER, WATCHER_SLEEPS, WATCHER_RUNS };

/* The rest of what was sent to a socket, of which `fd` is a copy. */
struct kept {
    struct kept *next;
    struct descriptor *of; /* NULL: closed by its program */
    int fd, how; /* how to shut it down then, or -1 */
    size_t length, done;
    uint8_t *data;
};

static struct libos_later *later_of(const struct slot *s) {
    return (struct libos_later *)((uint8_t *)s->channel + LIBOS_CHANNEL_LATER);
}

static uint32_t put_of(const struct slot *s) { return __atomic_load_n(&later_of(s)->put, __ATOMIC_SEQ_CST); }

bool host_has_later(const struct slot *s) { return put_of(s) != atomic_load(&s->taken_later); }

static void unwelcome(struct slot *s) { __atomic_store_n(&later_of(s)->welcome, 0, __ATOMIC_SEQ_CST); }

/* ---- what a socket has not taken --------------------------------------------------------------------------------- */

/* Under the lock: true when there is nothing left of it. */
static bool push(struct kept *k) {
    while (k->done < k->length) {
        ssize_t sent = send(k->fd, k->data + k->done, k->length - k->done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) {
            if (k->of != NULL && errno != EPIPE) atomic_store(&k->of->error, errno);
            break;
        }
        k->done += (size_t)sent;
    }
    if (k->how >= 0) shutdown(k->fd, k->how);
    return true;
}

/* Under the lock. */
static void drop(struct host *h, struct kept *k) {
    struct kept **at = &h->all_kept;
    while (*at != k) at = &(*at)->next;
    *at = k->next;
    if (k->of != NULL) atomic_store(&k->of->kept, NULL);
    close(k->fd);
    free(k->data);
    free(k);
    atomic_fetch_sub(&h->kept, 1);
}

static void push_all(struct host *h) {
    if (atomic_load(&h->kept) == 0) return;
    pthread_mutex_lock(&h->keeping);
    for (struct kept *k = h->all_kept, *next; k != NULL; k = next) {
        next = k->next;
        if (push(k)) drop(h, k);
    }
    pthread_mutex_unlock(&h->keeping);
}

/* Keeps bytes for a descriptor, behind those that it has. */
static void keep(struct host *h, struct descriptor *d, const uint8_t *data, size_t length) {
    pthread_mutex_lock(&h->keeping);
    struct kept *k = atomic_load(&d->kept);
    if (k == NULL && (k = calloc(1, sizeof *k)) != NULL) {
        *k = (struct kept){.next = h->all_kept, .of = d, .how = -1, .fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 3)};
        h->all_kept = k;
        atomic_store(&d->kept, k);
        atomic_fetch_add(&h->kept, 1);
    }
    uint8_t *longer = k == NULL || k->fd < 0 ? NULL : realloc(k->data, k->length + length);
    if (longer == NULL) {
        atomic_store(&d->error, ENOBUFS);
    } else {
        memcpy(longer + k->length, data, length);
        k->data = longer;
        k->length += length;
    }
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) unwelcome(&h->slots[i]);
    pthread_mutex_unlock(&h->keeping);
}

/* Whether nothing of a descriptor is kept any more. */
bool host_sends_kept(struct host *h, struct descriptor *d) {
    if (atomic_load(&d->kept) == NULL) return true;
    pthread_mutex_lock(&h->keeping);
    struct kept *k = atomic_load(&d->kept);
    bool gone = k == NULL || push(k);
    if (k != NULL && gone) drop(h, k);
    pthread_mutex_unlock(&h->keeping);
    return gone;
}

/* Has a descriptor shut down behind what is kept of it; false when there is nothing. */
bool host_keeps_shutdown(struct host *h, struct descriptor *d, int how) {
    if (how == SHUT_RD || host_sends_kept(h, d)) return false;
    pthread_mutex_lock(&h->keeping);
    struct kept *k = atomic_load(&d->kept);
    if (k != NULL) k->how = how;
    pthread_mutex_unlock(&h->keeping);
    return k != NULL;
}

/* The descriptor is closed: what is kept is sent nevertheless. */
void host_forgets_kept(struct host *h, struct descriptor *d) {
    pthread_mutex_lock(&h->keeping);
    struct kept *k = atomic_load(&d->kept);
    if (k != NULL) k->of = NULL;
    atomic_store(&d->kept, NULL);
    pthread_mutex_unlock(&h->keeping);
}

/* ---- what was put off -------------------------------------------------------------------------------------------- */

/* False when the program has to be told that it failed. */
static bool carry_out(struct host *h, const struct libos_later *later, const struct libos_later_entry *e) {
    uint32_t kind;
    bool good = true;
    if (e->op == LATER_CLOSE) {
        host_close(h, e->fd);
        return true;
    }
    int fd = host_hold(h, e->fd, &kind);
    if (fd < 0) return true;
    struct descriptor *d = &h->table[e->fd];
    if (kind == KIND_SOCKET && e->op == LATER_WATCH) {
        uint32_t set;
        int epoll = host_hold(h, e->other, &set);
        struct epoll_event event = {.events = e->at, .data = {.u64 = (uint64_t)e->fd << 32 | e->number}};
        if (epoll >= 0 && set == KIND_EPOLL && epoll_ctl(epoll, (int)e->length, fd, &event) < 0) good = false;
        if (epoll >= 0) host_release(h, e->other);
    } else if (kind == KIND_SOCKET && e->op == LATER_TAKE) {
        while (recv(fd, NULL, e->length, MSG_TRUNC | MSG_DONTWAIT) < 0 && errno == EINTR) continue;
    } else if (kind == KIND_SOCKET && e->op == LATER_SEND && e->at <= LIBOS_LATER_ROOM &&
               e->length <= LIBOS_LATER_ROOM - e->at) {
        ssize_t sent = atomic_load(&d->kept) != NULL ? 0 : send(fd, later->data + e->at, e->length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            if (errno != EPIPE) atomic_store(&d->error, errno);
            good = false;
        } else if (sent < (ssize_t)e->length) {
            if (sent < 0) sent = 0;
            keep(h, d, later->data + e->at + sent, e->length - (size_t)sent);
        }
    }
    host_release(h, e->fd);
    return good;
}

void host_do_later(struct host *h, struct slot *s) {
    struct libos_later *later = later_of(s);
    pthread_mutex_lock(&s->later);
    uint32_t taken = atomic_load(&s->taken_later), put = put_of(s);
    if (put - taken > LIBOS_LATER_ENTRIES) taken = put; /* not what the library OS writes */
    while (taken != put) {
        struct libos_later_entry e;
        const volatile struct libos_later_entry *from = &later->entries[taken % LIBOS_LATER_ENTRIES];
        e.op = from->op, e.fd = from->fd, e.length = from->length, e.at = from->at;
        e.other = from->other, e.number = from->number;
        /* The next that is sent is sent at once, and says so. */
        if (!carry_out(h, later, &e)) unwelcome(s);
        atomic_fetch_add_explicit(&h->requests, 1, memory_order_relaxed);
        taken++;
    }
    atomic_store(&s->taken_later, taken);
    __atomic_store_n(&later->taken, taken, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->later);
}

/* Of all threads: what one of them has put off comes before what another asks for after it. */
void host_do_all_later(struct host *h, struct slot *own) {
    if (h->grants >= 0) return;
    if (own != NULL && host_has_later(own)) host_do_later(h, own);
    for (uint64_t left = atomic_load(&h->putting); left != 0; left &= left - 1) {
        struct slot *s = &h->slots[__builtin_ctzll(left)];
        if (s != own && host_has_later(s)) host_do_later(h, s);
    }
}

/* ---- when --------------------------------------------------------------------------------------------------------- */

static void look_at(struct host *h, struct slot *s, uint64_t bit) {
    uint32_t put = put_of(s);
    if (put != atomic_load(&s->taken_later) && put == s->put_seen) host_do_later(h, s);
    s->put_seen = put;
    s->idle = put == s->put_idle ? s->idle + 1 : 0;
    s->put_idle = put;
    if (s->idle < IDLE_TICKS && __atomic_load_n(&later_of(s)->welcome, __ATOMIC_RELAXED) != 0) return;
    /* Whoever puts something from here on sees that, and calls; what was put before is done now. */
    unwelcome(s);
    if (host_has_later(s)) host_do_later(h, s);
    s->rounds = s->idle = 0;
    atomic_fetch_and(&h->putting, ~bit);
}

static void *watch(void *argument) {
    struct host *h = argument;
    while (atomic_load(&h->stopping) == 0) {
        uint64_t left = atomic_load(&h->putting);
        if (left == 0 && atomic_load(&h->kept) == 0) {
            atomic_store(&h->watcher_state, WATCHER_SLEEPS);
            if (atomic_load(&h->putting) == 0) host_futex(&h->watcher_state, FUTEX_WAIT, WATCHER_SLEEPS, GUARD_NS);
            atomic_store(&h->watcher_state, WATCHER_RUNS);
            continue;
        }
        host_futex(&h->stopping, FUTEX_WAIT, 0, TICK_NS);
        for (; left != 0; left &= left - 1) look_at(h, &h->slots[__builtin_ctzll(left)], left & -left);
        push_all(h);
    }
    return NULL;
}

/* A wait for events is over: things may be put off where many follow one another. */
void host_later_round(struct host *h, struct slot *s) {
    uint64_t time = __rdtsc(), bit = 1ull << (s - h->slots);
    bool close_by = time - s->latest_round < CLOSE_CYCLES;
    s->latest_round = time;
    if ((atomic_load(&h->putting) & bit) != 0) return;
    s->rounds = close_by ? s->rounds + 1 : 0;
    if (s->rounds < ROUNDS || atomic_load(&h->kept) != 0 || atomic_load(&h->stopping) != 0) return;
    uint32_t state = NO_WATCHER;
    if (atomic_compare_exchange_strong(&h->watcher_state, &state, WATCHER_RUNS)) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        int failed = pthread_create(&h->watcher, &attributes, watch, h);
        pthread_attr_destroy(&attributes);
        if (failed != 0) {
            atomic_store(&h->watcher_state, NO_WATCHER);
            s->rounds = 0;
            return;
        }
    }
    s->put_idle = s->put_seen = put_of(s);
    atomic_fetch_or(&h->putting, bit);
    state = WATCHER_SLEEPS;
    if (atomic_compare_exchange_strong(&h->watcher_state, &state, WATCHER_RUNS))
        host_futex(&h->watcher_state, FUTEX_WAKE, 1, -1);
    __atomic_store_n(&later_of(s)->welcome, 1, __ATOMIC_SEQ_CST);
}

/* Shows what has come for the connections among `count` events of the data, without taking it. */
void host_look_ahead(struct host *h, struct slot *s, uint32_t count) {
    struct libos_later *later = later_of(s);
    const struct epoll_event *events = (const struct epoll_event *)((const uint8_t *)s->channel + LIBOS_CHANNEL_DATA);
    uint32_t found = 0, at = 0;
    for (uint32_t i = 0; i < count && found < LIBOS_AHEAD_ENTRIES && at + AHEAD_PIECE <= LIBOS_AHEAD_ROOM; i++) {
        struct epoll_event event = *(const volatile struct epoll_event *)&events[i];
        uint32_t kind, name = (uint32_t)(event.data.u64 >> 32);
        if ((event.events & (EPOLLIN | EPOLLERR)) != EPOLLIN || name == 0) continue;
        int fd = host_hold(h, name, &kind);
        if (fd < 0) continue;
        ssize_t seen = kind == KIND_SOCKET ? recv(fd, later->seen + at, AHEAD_PIECE, MSG_PEEK | MSG_DONTWAIT) : -1;
        host_release(h, name);
        if (seen <= 0 || seen == AHEAD_PIECE) continue;
        later->ahead[found++] = (struct libos_ahead){name, (uint32_t)seen, at};
        at += ((uint32_t)seen + 7) & ~7u;
    }
    later->aheads = found;
}

/* ---- beginning and end -------------------------------------------------------------------------------------------- */

void host_later_start(struct host *h) {
    pthread_mutex_init(&h->keeping, NULL);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) {
        struct libos_later *later = later_of(&h->slots[i]);
        later->put = later->taken = later->welcome = later->aheads = 0;
    }
}

/* The program is over: a socket has a while to take what it was sent. */
void host_later_end(struct host *h) {
    if (atomic_load(&h->watcher_state) != NO_WATCHER) pthread_join(h->watcher, NULL);
    int64_t until = host_clock() + LAST_MS * 1000000ll;
    for (;;) {
        push_all(h);
        if (h->all_kept == NULL || host_clock() > until) break;
        struct pollfd fd = {h->all_kept->fd, POLLOUT, 0};
        poll(&fd, 1, 10);
    }
    while (h->all_kept != NULL) drop(h, h->all_kept);
}
