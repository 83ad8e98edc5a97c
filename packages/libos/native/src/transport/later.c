/*
 * Requests that are put off, and reads ahead. A connection belongs to one thread as long as that one has something put off
 * for it, so that its bytes keep their order; threads that share connections leave the enclave. What was seen ahead is
 * dropped when somebody else reads the connection, also when that was under way while it was seen. How many entries are
 * done, what came ahead and whose it is are the host's word, as all that it says of its sockets: positions and lengths are
 * checked, nothing else depends on it.
 */
#include "later.h"

#include "libos.h"
#include "task.h"
#include "transport.h"

#define NAMES 4096u
#define FIRST 3u
/* Longer ones go at once, and so does whoever has put off as many or for so long, unless somebody sends meanwhile. */
#define SEND_MOST 16384u
#define SENDS 8u
#define LONG_TICKS 130000u
/* A thread that left what it had put off to wait that long puts nothing off so many times. */
#define TOO_LONG_TICKS 1000000u
#define SHY 256u
/* Reads ahead that were of use, less those that were not: below 0 a pause of so many waits. */
#define TRUST 64
#define PAUSE 256u

/* Of each connection. */
static struct {
    uint32_t read_at; /* number of the latest read by the host or of what was ahead */
    uint16_t at, length;
    uint8_t is, reading; /* how many are under way */
    uint8_t owner, ahead; /* slots, counted from 1: whose entries may not be done yet; who has seen ahead */
} connections[NAMES];

/* Of each thread. */
static struct {
    uint32_t put, sends, used, shy;
    uint64_t first; /* when the first of them was put */
    uint32_t waits_since; /* number of the latest read when it began to wait for events */
    int32_t trust;
    uint32_t pause, count;
    uint16_t fds[LIBOS_AHEAD_ENTRIES];
} threads[LIBOS_CHANNELS];

_Static_assert(LIBOS_AHEAD_ROOM <= 0xffff && LIBOS_CHANNELS < 0xff, "fields of a connection");

static bool working;
static uint32_t locked;
static uint32_t reads;

static void lock(void) {
    while (__atomic_exchange_n(&locked, 1, __ATOMIC_ACQUIRE) != 0)
        while (__atomic_load_n(&locked, __ATOMIC_RELAXED) != 0) __asm__ volatile("pause");
}

static void unlock(void) { __atomic_store_n(&locked, 0, __ATOMIC_RELEASE); }

static uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static uint8_t *channel_of(uint32_t slot) {
    return libos_io_data() - LIBOS_CHANNEL_DATA + ((int64_t)slot - libos_slot()) * (int64_t)LIBOS_CHANNEL_STRIDE;
}

static struct libos_later *later_of(uint32_t slot) { return (struct libos_later *)(channel_of(slot) + LIBOS_CHANNEL_LATER); }

static bool is_done(uint32_t slot) {
    return __atomic_load_n(&later_of(slot)->taken, __ATOMIC_ACQUIRE) == threads[slot].put;
}

static bool welcome(uint32_t slot) { return __atomic_load_n(&later_of(slot)->welcome, __ATOMIC_SEQ_CST) != 0; }

static bool known(uint64_t fd) { return working && fd < NAMES && __atomic_load_n(&connections[fd].is, __ATOMIC_RELAXED) != 0; }

/* Under the lock: the connection's entries come in the order in which this thread puts them. */
static bool owns(uint64_t fd, uint32_t slot) {
    uint32_t owner = connections[fd].owner;
    if (owner != 0 && owner != slot + 1 && !is_done(owner - 1)) return false;
    connections[fd].owner = (uint8_t)(slot + 1);
    return true;
}

static bool has_room(uint32_t slot) {
    if (is_done(slot)) threads[slot].sends = threads[slot].used = 0;
    return threads[slot].put - __atomic_load_n(&later_of(slot)->taken, __ATOMIC_RELAXED) < LIBOS_LATER_ENTRIES;
}

/* Whoever serves no longer looks for entries has to be called for this one. */
static void put(uint32_t slot, uint32_t op, uint64_t fd, uint64_t length, uint32_t at) {
    struct libos_later *later = later_of(slot);
    volatile struct libos_later_entry *e = &later->entries[threads[slot].put % LIBOS_LATER_ENTRIES];
    if (is_done(slot)) threads[slot].first = ticks();
    e->op = op, e->fd = (uint32_t)fd, e->length = (uint32_t)length, e->at = at;
    __atomic_store_n(&later->put, ++threads[slot].put, __ATOMIC_SEQ_CST);
}

static void call_if_left(uint32_t slot) {
    static const uint64_t nothing[6];
    if (!welcome(slot)) libos_io(IO_NOTHING, nothing);
}

void libos_later_start(bool on) { working = on; }

void libos_later_connection(uint64_t fd) {
    if (!working || fd < FIRST || fd >= NAMES) return;
    lock();
    connections[fd].is = 1;
    connections[fd].owner = connections[fd].ahead = 0;
    connections[fd].read_at = ++reads;
    unlock();
}

uint32_t libos_later_name(uint64_t fd) { return known(fd) ? (uint32_t)fd : 0; }

uint8_t *libos_later_room(uint64_t fd, uint64_t length) {
    if (!known(fd) || length == 0 || length > SEND_MOST) return NULL;
    uint32_t slot = libos_slot();
    if (!welcome(slot) || !has_room(slot)) return NULL;
    if (threads[slot].put != __atomic_load_n(&later_of(slot)->taken, __ATOMIC_RELAXED)) {
        uint64_t since = ticks() - threads[slot].first;
        bool looks = __atomic_load_n(&((struct libos_channel *)channel_of(slot))->attentive, __ATOMIC_RELAXED) != 0;
        if (since > TOO_LONG_TICKS) threads[slot].shy = SHY;
        if (!looks && (threads[slot].sends >= SENDS || since > LONG_TICKS)) return NULL;
    }
    if (threads[slot].shy > 0) {
        threads[slot].shy--;
        return NULL;
    }
    if (length > LIBOS_LATER_ROOM - threads[slot].used) return NULL;
    lock();
    bool owned = owns(fd, slot);
    unlock();
    return owned ? later_of(slot)->data + threads[slot].used : NULL;
}

void libos_later_send(uint64_t fd, uint64_t length) {
    uint32_t slot = libos_slot();
    uint32_t at = threads[slot].used;
    threads[slot].used += (uint32_t)((length + 7) & ~7ull);
    threads[slot].sends++;
    put(slot, LATER_SEND, fd, length, at);
    call_if_left(slot);
}

const uint8_t *libos_ahead(uint64_t fd, uint64_t length, uint64_t *got) {
    uint32_t slot = libos_slot();
    if (length == 0 || !known(fd) || __atomic_load_n(&connections[fd].ahead, __ATOMIC_RELAXED) != slot + 1) return NULL;
    const uint8_t *found = NULL;
    lock();
    if (connections[fd].ahead == slot + 1 && has_room(slot) && owns(fd, slot)) {
        uint32_t at = connections[fd].at, part = connections[fd].length;
        if (length < part) part = (uint32_t)length;
        else connections[fd].ahead = 0;
        connections[fd].at = (uint16_t)(at + part);
        connections[fd].length = (uint16_t)(connections[fd].length - part);
        connections[fd].read_at = ++reads;
        put(slot, LATER_TAKE, fd, part, 0);
        found = later_of(slot)->seen + at;
        *got = part;
    }
    unlock();
    if (found == NULL) return NULL;
    if (threads[slot].trust < TRUST) threads[slot].trust++;
    call_if_left(slot);
    return found;
}

bool libos_ahead_reads(uint64_t fd) {
    if (!known(fd)) return false;
    lock();
    connections[fd].reading++;
    connections[fd].ahead = 0;
    connections[fd].read_at = ++reads;
    unlock();
    return true;
}

void libos_ahead_has_read(uint64_t fd) {
    lock();
    connections[fd].reading--;
    connections[fd].read_at = ++reads;
    unlock();
}

bool libos_ahead_wanted(void) {
    if (!working) return false;
    uint32_t slot = libos_slot();
    bool wanted = welcome(slot);
    lock();
    for (uint32_t i = 0; i < threads[slot].count; i++) {
        uint32_t fd = threads[slot].fds[i];
        if (connections[fd].ahead != slot + 1) continue;
        connections[fd].ahead = 0;
        threads[slot].trust--;
    }
    threads[slot].count = 0;
    threads[slot].waits_since = reads;
    unlock();
    if (threads[slot].pause > 0) {
        threads[slot].pause--;
        return false;
    }
    if (threads[slot].trust < -TRUST) {
        threads[slot].trust = 0;
        threads[slot].pause = PAUSE;
        return false;
    }
    return wanted;
}

void libos_ahead_seen(void) {
    uint32_t slot = libos_slot();
    struct libos_later *later = later_of(slot);
    uint32_t count = *(volatile uint32_t *)&later->aheads;
    if (count > LIBOS_AHEAD_ENTRIES) return;
    lock();
    for (uint32_t i = 0; i < count; i++) {
        const volatile struct libos_ahead *from = &later->ahead[i];
        uint32_t fd = from->fd, length = from->length, at = from->at;
        if (fd >= NAMES || length == 0 || length > LIBOS_AHEAD_ROOM || at > LIBOS_AHEAD_ROOM - length) continue;
        if (!connections[fd].is || connections[fd].reading > 0 || (int32_t)(connections[fd].read_at - threads[slot].waits_since) > 0)
            continue;
        connections[fd].at = (uint16_t)at;
        connections[fd].length = (uint16_t)length;
        connections[fd].ahead = (uint8_t)(slot + 1);
        threads[slot].fds[threads[slot].count++] = (uint16_t)fd;
    }
    unlock();
}

bool libos_later_watch(uint64_t epoll, uint64_t operation, uint64_t fd, uint64_t events, uint64_t number) {
    if (!known(fd) || epoll > UINT32_MAX || number > UINT32_MAX) return false;
    uint32_t slot = libos_slot();
    lock();
    bool later = welcome(slot) && has_room(slot) && owns(fd, slot);
    if (later) {
        volatile struct libos_later_entry *e = &later_of(slot)->entries[threads[slot].put % LIBOS_LATER_ENTRIES];
        e->other = (uint32_t)epoll, e->number = (uint32_t)number;
        put(slot, LATER_WATCH, fd, operation, (uint32_t)events);
    }
    unlock();
    if (later) call_if_left(slot);
    return later;
}

bool libos_later_close(uint64_t fd) {
    if (!known(fd)) return false;
    uint32_t slot = libos_slot();
    lock();
    connections[fd].is = connections[fd].ahead = 0;
    connections[fd].read_at = ++reads;
    bool later = welcome(slot) && has_room(slot) && owns(fd, slot);
    if (later) put(slot, LATER_CLOSE, fd, 0, 0);
    unlock();
    if (later) call_if_left(slot);
    return later;
}
