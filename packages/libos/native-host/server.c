/*
 * Who serves a thread of the program: the thread of the host that entered the enclave for it, when it is called out
 * (a plain exit), and, while requests follow one another closely, a second one that looks at the channel, so that
 * requests need no exit. That one spins for a bounded time and then sleeps; never more of them spin than there are
 * processors to spare.
 */
#include "host.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <x86intrin.h>

/* Exits that follow one another this closely are worth a server. */
#define CLOSE_CYCLES 150000u
#define HOT 8u
#define HOT_MAX 512u
/* A server that answered this often before it slept was worth it. */
#define WORTH_IT 64u
#define STACK_BYTES (128 * 1024)
#define GUARD_NS 50000000

static uint32_t posted(const struct slot *s) { return __atomic_load_n(&s->channel->posted, __ATOMIC_ACQUIRE); }

/* Serves until nothing has come for a while; gives how many. */
static uint32_t attend(struct host *h, struct slot *s) {
    uint32_t answered = 0;
    uint64_t start = __rdtsc();
    __atomic_store_n(&s->channel->attentive, 1, __ATOMIC_SEQ_CST);
    while (atomic_load_explicit(&h->stopping, memory_order_relaxed) == 0) {
        uint32_t number = posted(s);
        if (number != atomic_load(&s->taken) && host_take(s, number)) {
            host_serve(h, s, number);
            answered++;
            start = __rdtsc();
            continue;
        }
        if (__rdtsc() - start > h->spin_cycles) {
            if (__atomic_load_n(&s->channel->attentive, __ATOMIC_RELAXED) == 0) break;
            /* Whoever posts from here on calls; what was posted before is seen by one more look. */
            __atomic_store_n(&s->channel->attentive, 0, __ATOMIC_SEQ_CST);
            continue;
        }
        for (int i = 0; i < 8; i++) _mm_pause();
    }
    __atomic_store_n(&s->channel->attentive, 0, __ATOMIC_SEQ_CST);
    return answered;
}

struct work {
    struct host *host;
    struct slot *slot;
};

static void *server(void *argument) {
    struct work work = *(struct work *)argument;
    struct host *h = work.host;
    struct slot *s = work.slot;
    free(argument);
    while (atomic_load(&h->stopping) == 0) {
        if (atomic_exchange(&s->call, 0) == 0) {
            host_futex(&s->call, FUTEX_WAIT, 0, GUARD_NS);
            continue;
        }
        if (atomic_fetch_add(&h->spinners, 1) < h->spinner_limit) {
            uint32_t answered = attend(h, s);
            s->hot_needed = answered >= WORTH_IT ? HOT : s->hot_needed < HOT_MAX ? s->hot_needed * 2 : HOT_MAX;
        }
        atomic_fetch_sub(&h->spinners, 1);
    }
    return NULL;
}

static void call_server(struct host *h, struct slot *s) {
    if (!s->has_server) {
        pthread_attr_t attributes;
        struct work *work = malloc(sizeof *work);
        if (work == NULL) return;
        *work = (struct work){h, s};
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        s->has_server = pthread_create(&s->server, &attributes, server, work) == 0;
        pthread_attr_destroy(&attributes);
        if (!s->has_server) free(work);
    }
    if (atomic_exchange(&s->call, 1) == 0) host_futex(&s->call, FUTEX_WAKE, 1, -1);
}

/* The program's thread has left the enclave for its request: carries it out, or waits for who does. */
void host_called(struct host *h, struct slot *s) {
    uint32_t number = posted(s);
    atomic_fetch_add_explicit(&h->exits, 1, memory_order_relaxed);
    if (h->spinner_limit > 0) {
        uint64_t time = __rdtsc();
        s->hot = time - s->latest_exit < CLOSE_CYCLES ? s->hot + 1 : 0;
        if (s->hot >= s->hot_needed && atomic_load(&h->spinners) < h->spinner_limit) {
            s->hot = 0;
            call_server(h, s);
        }
    }
    if (host_take(s, number)) {
        host_serve(h, s, number);
    } else {
        atomic_store(&s->awaited, 1);
        uint32_t served;
        while ((served = atomic_load(&s->served)) != number && atomic_load(&h->stopping) == 0)
            host_futex(&s->served, FUTEX_WAIT, served, GUARD_NS);
        atomic_store(&s->awaited, 0);
    }
    if (h->spinner_limit > 0) s->latest_exit = __rdtsc();
}

/* channels: LIBOS_CHANNELS channels in guest RAM. 0: no memory or no descriptors. */
EXPORT uint64_t nsgx_lh_open(uint64_t channels, uint64_t ram, uint64_t ram_length, uint32_t spinners, uint32_t spin_cycles,
                             uint32_t limit) {
    struct host *h = aligned_alloc(64, sizeof *h);
    if (h == NULL) return 0;
    __builtin_memset(h, 0, sizeof *h);
    h->ram = ram;
    h->ram_length = ram_length;
    h->spinner_limit = spinners;
    h->spin_cycles = spin_cycles;
    h->limit = limit < DESCRIPTORS - 3 ? limit : DESCRIPTORS - 3;
    h->next = 3;
    h->grants = -1;
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) {
        struct slot *s = &h->slots[i];
        s->channel = (struct libos_channel *)(channels + (uint64_t)i * LIBOS_CHANNEL_STRIDE);
        s->hot_needed = HOT;
        s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->event < 0) {
            while (i-- > 0) close(h->slots[i].event);
            free(h);
            return 0;
        }
    }
    return (uint64_t)(uintptr_t)h;
}

/* Ends all waits: every thread of the program comes back. */
EXPORT void nsgx_lh_stop(uint64_t host) {
    struct host *h = (struct host *)host;
    atomic_store(&h->stopping, 1);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) {
        atomic_store(&h->slots[i].token, 0);
        host_unpark(h, i);
        host_futex(&h->slots[i].served, FUTEX_WAKE, 1, -1);
        host_futex(&h->slots[i].call, FUTEX_WAKE, 1, -1);
    }
}

/* After nsgx_lh_stop, when no thread of the program is inside any more: waits for the servers, and closes everything. */
EXPORT void nsgx_lh_close(uint64_t host) {
    struct host *h = (struct host *)host;
    nsgx_lh_stop(host);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++)
        if (h->slots[i].has_server) pthread_join(h->slots[i].server, NULL);
    for (uint32_t i = 0; i < DESCRIPTORS; i++) host_close(h, i);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) close(h->slots[i].event);
    free(h);
}

/* For calls that Node answers: carries out the request of a slot. 0, or -EINVAL for a slot that is none. */
EXPORT int32_t nsgx_lh_serve(uint64_t host, uint32_t slot) {
    if (slot >= LIBOS_CHANNELS) return -EINVAL;
    host_called((struct host *)host, &((struct host *)host)->slots[slot]);
    return 0;
}

EXPORT void nsgx_lh_unpark(uint64_t host, uint32_t slot) { host_unpark((struct host *)host, slot); }

/* How many requests were answered, and for how many of them the enclave was left. */
EXPORT void nsgx_lh_counters(uint64_t host, uint64_t out[2]) {
    struct host *h = (struct host *)host;
    out[0] = atomic_load(&h->requests);
    out[1] = atomic_load(&h->exits);
}
