/*
 * Who serves a thread of the program: the thread of the host that entered the enclave for it, when it is called out
 * (a plain exit), and, while requests follow one another closely, a second one that looks at the channel, so that
 * requests need no exit. That one spins for a bounded time and then sleeps; never more of them spin than there are
 * processors to spare, and none while others want the processor that it would have: how much of its time it was not
 * given tells (a client on the same machine, say), and then it leaves the thread of the program to itself for a while.
 */
#include "host.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
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
/* How often a server looks whether it was given its time, and of how many parts one may be missing. */
#define LOOK_NS 1000000
#define MISSING 8
/* Before one is called a processor has to be idle as often: a client sleeps for moments, too. */
#define LOOKS 8u
#define QUIET_NS 8000000u
#define QUIET_MAX_NS 1000000000u
/* A server that had its time for so long may come back as soon as the first time. */
#define GOOD_NS 20000000

static int64_t thread_time(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * 1000000000ll + used.tv_nsec;
}

static uint32_t posted(const struct slot *s) { return __atomic_load_n(&s->channel->posted, __ATOMIC_ACQUIRE); }

/* How many threads of the machine run, this one among them; 0 where Linux does not say. */
static uint32_t running(const struct host *h) {
    char text[64];
    ssize_t got = h->load < 0 ? -1 : pread(h->load, text, sizeof text - 1, 0);
    if (got <= 0) return 0;
    text[got] = 0;
    /* Behind three averages. */
    const char *at = text;
    for (int i = 0; i < 3 && at != NULL; i++)
        if ((at = strchr(at, ' ')) != NULL) at++;
    return at == NULL ? 0 : (uint32_t)strtoul(at, NULL, 10);
}

static void be_quiet(struct slot *s, int64_t now) {
    s->quiet = s->quiet == 0 ? QUIET_NS : s->quiet < QUIET_MAX_NS / 2 ? s->quiet * 2 : QUIET_MAX_NS;
    s->quiet_until = now + s->quiet;
    s->looks = 0;
}

/* Whether a server gets what it wants of a processor, by its times since it was asked the last time. */
static bool has_time(const struct host *h, struct slot *s, int64_t *wall, int64_t *used) {
    int64_t now = host_clock(), spent = thread_time();
    s->waited += now - *wall, s->spent += spent - *used;
    *wall = now, *used = spent;
    if (s->waited < LOOK_NS) return true;
    bool given = s->waited - s->spent <= s->waited / MISSING && running(h) <= h->spinner_limit + 1;
    if (given && (s->good += s->waited) > GOOD_NS) s->quiet = 0;
    if (!given) s->good = 0;
    s->waited = s->spent = 0;
    if (!given) be_quiet(s, now);
    return given;
}

/* Serves until nothing has come for a while; gives how many. */
static uint32_t attend(struct host *h, struct slot *s) {
    uint32_t answered = 0, turns = 0;
    uint64_t start = __rdtsc();
    int64_t wall = host_clock(), used = thread_time();
    bool wanted = true;
    __atomic_store_n(&s->channel->attentive, 1, __ATOMIC_SEQ_CST);
    while (atomic_load_explicit(&h->stopping, memory_order_relaxed) == 0) {
        uint32_t number = posted(s);
        if (number != atomic_load(&s->taken) && host_take(s, number)) {
            host_serve(h, s, number);
            answered++;
            start = __rdtsc();
        } else if (host_has_later(s)) {
            host_do_later(h, s);
            start = __rdtsc();
        } else if (__rdtsc() - start > h->spin_cycles || !wanted) {
            if (__atomic_load_n(&s->channel->attentive, __ATOMIC_RELAXED) == 0) break;
            /* Whoever posts from here on calls; what was posted before is seen by one more look. */
            __atomic_store_n(&s->channel->attentive, 0, __ATOMIC_SEQ_CST);
            continue;
        }
        if (++turns % 1024 == 0 && wanted) wanted = has_time(h, s, &wall, &used);
        for (int i = 0; i < 8; i++) _mm_pause();
    }
    __atomic_store_n(&s->channel->attentive, 0, __ATOMIC_SEQ_CST);
    if (wanted) has_time(h, s, &wall, &used);
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
            int64_t now = host_clock();
            s->hot = 0;
            if (now >= s->quiet_until && running(h) > h->spinner_limit) be_quiet(s, now);
            else if (now >= s->quiet_until && ++s->looks >= LOOKS) call_server(h, s);
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
    h->load = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) {
        struct slot *s = &h->slots[i];
        s->channel = (struct libos_channel *)(channels + (uint64_t)i * LIBOS_CHANNEL_STRIDE);
        s->hot_needed = HOT;
        pthread_mutex_init(&s->later, NULL);
        s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->event < 0) {
            while (i-- > 0) close(h->slots[i].event);
            if (h->load >= 0) close(h->load);
            free(h);
            return 0;
        }
    }
    host_later_start(h);
    return (uint64_t)(uintptr_t)h;
}

/* Ends all waits: every thread of the program comes back. */
EXPORT void nsgx_lh_stop(uint64_t host) {
    struct host *h = (struct host *)host;
    host_do_all_later(h, NULL);
    atomic_store(&h->stopping, 1);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) {
        if (i == 0) host_futex(&h->watcher_state, FUTEX_WAKE, 1, -1);
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
    host_later_end(h);
    for (uint32_t i = 0; i < DESCRIPTORS; i++) host_close(h, i);
    for (uint32_t i = 0; i < LIBOS_CHANNELS; i++) close(h->slots[i].event);
    if (h->load >= 0) close(h->load);
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
