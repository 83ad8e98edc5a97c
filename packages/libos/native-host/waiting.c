/* Waiting of a program's threads: for descriptors, for a time, and for each other. */
#include "host.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ll

int64_t host_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* Negative `nanoseconds` wait for ever. */
long host_futex(_Atomic uint32_t *word, int op, uint32_t value, int64_t nanoseconds) {
    struct timespec limit = {nanoseconds / SECOND, nanoseconds % SECOND};
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, nanoseconds < 0 ? NULL : &limit, NULL, 0);
}

static bool woken(struct host *h, struct slot *s) {
    return atomic_exchange(&s->token, 0) != 0 || atomic_load(&h->stopping) != 0;
}

/*
 * Waits for `count` descriptors; behind them there is room for one more. Returns how many are ready, 0 when the time is
 * over, IO_WOKEN, or an errno.
 */
int host_wait(struct host *h, struct slot *s, struct pollfd *fds, uint32_t count, int64_t wait) {
    struct timespec limit = {wait / SECOND, wait % SECOND};
    if (wait == 0) {
        int ready = poll(fds, count, 0);
        return ready < 0 ? -errno : ready;
    }
    fds[count] = (struct pollfd){s->event, POLLIN, 0};
    atomic_store(&s->state, ASLEEP_POLL);
    int ready = woken(h, s) ? IO_WOKEN : ppoll(fds, count + 1, wait < 0 ? NULL : &limit, NULL);
    if (ready == -1) ready = errno == EINTR ? IO_WOKEN : -errno;
    atomic_store(&s->state, RUNNING);
    if (ready > 0 && fds[count].revents != 0) {
        uint64_t value;
        if (read(s->event, &value, sizeof value) < 0 && errno != EAGAIN) return -errno;
        atomic_store(&s->token, 0);
        return ready > 1 ? ready - 1 : IO_WOKEN;
    }
    return ready;
}

int64_t host_park(struct host *h, struct slot *s, int64_t wait) {
    int64_t until = wait < 0 ? -1 : host_clock() + wait;
    int64_t result = 0;
    atomic_store(&s->state, ASLEEP_FUTEX);
    for (;;) {
        if (woken(h, s)) {
            result = IO_WOKEN;
            break;
        }
        int64_t left = until < 0 ? -1 : until - host_clock();
        if (until >= 0 && left <= 0) break;
        host_futex(&s->token, FUTEX_WAIT, 0, left);
    }
    atomic_store(&s->state, RUNNING);
    return result;
}

void host_unpark(struct host *h, uint64_t slot) {
    if (slot >= LIBOS_CHANNELS) return;
    struct slot *s = &h->slots[slot];
    if (atomic_exchange(&s->token, 1) != 0) return;
    uint32_t state = atomic_load(&s->state);
    uint64_t one = 1;
    if (state == ASLEEP_FUTEX) host_futex(&s->token, FUTEX_WAKE, 1, -1);
    /* A full counter wakes as well. */
    else if (state == ASLEEP_POLL && write(s->event, &one, sizeof one) < 0) return;
}
