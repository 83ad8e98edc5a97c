/* The table of descriptors. An operation holds its descriptor, so that closing waits for it: a number of this process is
 * never given to somebody else while an operation still means the old one. */
#include "host.h"

#include <unistd.h>

#define OPEN 1u
#define CLOSING 2u
#define USER 4u
#define LOW 4096u

/* The descriptor of this process, or -EBADF. */
int host_hold(struct host *h, uint64_t index, uint32_t *kind) {
    if (index >= DESCRIPTORS) return -EBADF;
    struct descriptor *d = &h->table[index];
    uint32_t state = atomic_load(&d->state);
    do {
        if ((state & (OPEN | CLOSING)) != OPEN) return -EBADF;
    } while (!atomic_compare_exchange_weak(&d->state, &state, state + USER));
    *kind = d->kind;
    return d->fd;
}

static void finish(struct host *h, struct descriptor *d) {
    int fd = d->fd;
    bool ours = d->kind != KIND_STREAM;
    if (atomic_load(&d->kept) != NULL) host_forgets_kept(h, d);
    atomic_store(&d->error, 0);
    d->kind = KIND_FREE;
    atomic_fetch_sub(&h->open, 1);
    atomic_store(&d->state, 0);
    if (ours) close(fd);
}

void host_release(struct host *h, uint64_t index) {
    struct descriptor *d = &h->table[index];
    if (atomic_fetch_sub(&d->state, USER) == (OPEN | CLOSING | USER)) finish(h, d);
}

/* Gives a descriptor of this process to the program, or closes it: -EMFILE when it has as many as it may. */
int64_t host_add(struct host *h, int fd, uint32_t kind) {
    if (atomic_fetch_add(&h->open, 1) < h->limit)
        for (uint32_t tried = 0; tried < DESCRIPTORS; tried++) {
            /* Low ones first: those are what the enclave puts things off for (transport/later.c). */
            uint32_t index = tried < LOW ? atomic_fetch_add(&h->next, 1) % LOW : tried;
            /* The first three are those that the program begins with. */
            if (index < 3) continue;
            struct descriptor *d = &h->table[index];
            uint32_t unused = 0;
            if (!atomic_compare_exchange_strong(&d->state, &unused, CLOSING)) continue;
            d->fd = fd;
            d->kind = kind;
            host_grant(h, index, fd, kind);
            atomic_store(&d->state, OPEN);
            return index;
        }
    atomic_fetch_sub(&h->open, 1);
    close(fd);
    return -EMFILE;
}

int64_t host_close(struct host *h, uint64_t index) {
    uint32_t kind;
    if (host_hold(h, index, &kind) < 0) return -EBADF;
    atomic_fetch_or(&h->table[index].state, CLOSING);
    host_release(h, index);
    return 0;
}
