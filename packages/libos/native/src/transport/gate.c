/*
 * Operations made by the runner: DESCRIPTOR_CALL (packages/cpu/src/layout/memory.ts) is a system call on descriptors that
 * the host has granted. What the kernel reads to find memory by (msghdr, iovec, timespec) lies inside; data, pollfds and
 * events lie in the channel, as with the other transports, and are the host's to change.
 */
#include "gate.h"

#include "grant.h"
#include "libos.h"
#include "task.h"
#include "transport.h"

#define DESCRIPTOR_CALL 0x41000000ul
#define GRANT_SOCKET 5

enum { SYS_READ = 0, SYS_WRITE, SYS_CLOSE = 3, SYS_POLL = 7, SYS_PREAD = 17, SYS_PWRITE, SYS_YIELD = 24, SYS_SENDTO = 44,
       SYS_RECVFROM, SYS_RECVMSG = 47, SYS_FUTEX = 202, SYS_EPOLL_WAIT = 232 };

#define EINTR 4
#define EAGAIN 11
#define EFAULT 14
#define EEXIST 17
#define POLLIN 1
#define POLLOUT 4
#define EPOLL_CTL_ADD 1
#define EPOLLIN 1
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
/* PEEK TRUNC OOB; OOB DONTROUTE EOR CONFIRM MORE: as native-host/serve.c has them. */
#define RECEIVE_FLAGS 0x23u
#define SEND_FLAGS 0x8885u
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#define SECOND 1000000000ll

#define NAMES 8192u
#define STREAMS 3u /* 0, 1 and 2 are shared with others and not granted */
#define WATCHES 64u
/* Marks the events of threads among those of an epoll. */
#define WAKE 0xfffffffffffe0000ull

/* Where what is granted arrives, in the head of the calling thread's channel. */
struct arrival {
    struct libos_grant grant;
    uint64_t control_length;
    uint32_t level, type;
    int32_t fds[GRANT_MOST];
};
#define ARRIVAL_AT 2048u
_Static_assert(ARRIVAL_AT >= sizeof(struct libos_channel), "the head of a channel");
_Static_assert(ARRIVAL_AT + sizeof(struct arrival) <= LIBOS_CHANNEL_DATA, "the head of a channel");

struct vector {
    void *base;
    uint64_t length;
};
struct message {
    void *name;
    uint64_t name_length;
    struct vector *vectors;
    uint64_t count;
    void *control;
    uint64_t control_length, flags;
};

/* The runner's number, and the kind above it, by name; 0: not granted. */
static uint32_t granted[NAMES];
static uint32_t events[LIBOS_CHANNELS];
static uint32_t taking;

/* Threads that wait here. One that waits by the channel counts as RUNNING. */
enum { RUNNING, IN_FUTEX, IN_POLL };
static uint32_t state[LIBOS_CHANNELS];
static uint32_t token[LIBOS_CHANNELS];

/* Which threads' events an epoll has among its own. */
static struct {
    uint32_t name, used;
    uint64_t threads;
} watches[WATCHES];

static int64_t kernel(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    uint64_t target = DESCRIPTOR_CALL;
    /* Below a leaf function's stack pointer there may be something of its own. */
    __asm__ volatile("lea -128(%%rsp), %%rsp\n"
                     "call *%[target]\n"
                     "lea 128(%%rsp), %%rsp"
                     : "+a"(number)
                     : [target] "b"(target), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory", "cc");
    return (int64_t)number;
}

static uint8_t *head(void) { return libos_io_data() - LIBOS_CHANNEL_DATA; }

/* The kernel puts nothing into pages of the enclave that are not there: touching brings them back. */
static int64_t with_pages(uint64_t number, uint64_t a, volatile uint8_t *at, uint64_t length, uint64_t c, uint64_t d) {
    int64_t result;
    do {
        for (uint64_t i = 0; i < length; i += 4096) at[i] = at[i];
        at[length - 1] = at[length - 1];
        result = kernel(number, a, (uint64_t)at, c, d, 0, 0);
    } while (result == -EFAULT);
    return result;
}

static void close_number(uint32_t number) { kernel(SYS_CLOSE, number, 0, 0, 0, 0, 0); }

/* One message of the host; false when there is none. */
static bool take_one(void) {
    struct arrival *arrival = (struct arrival *)(head() + ARRIVAL_AT);
    struct {
        struct message message;
        struct vector vector;
    } m = {{NULL, 0, &m.vector, 1, &arrival->control_length, sizeof *arrival - sizeof arrival->grant, 0},
           {&arrival->grant, sizeof arrival->grant}};
    for (uint32_t i = 0; i < GRANT_MOST; i++) *(volatile int32_t *)&arrival->fds[i] = -1;
    int64_t got = with_pages(SYS_RECVMSG, GRANT_SOCKET, (volatile uint8_t *)&m, sizeof m, MSG_DONTWAIT, 0);
    if (got != sizeof arrival->grant) return false;
    uint32_t name = *(volatile uint32_t *)&arrival->grant.name, kind = *(volatile uint32_t *)&arrival->grant.kind;
    for (uint32_t i = 0; i < GRANT_MOST; i++) {
        int32_t fd = *(volatile int32_t *)&arrival->fds[i];
        if (fd <= 0 || fd > 0xffff) break;
        if (kind == GRANT_EVENTS) __atomic_store_n(&events[i], (uint32_t)fd, __ATOMIC_RELEASE);
        else if (i > 0 || name >= NAMES || kind == 0 || kind > GRANT_EVENTS) close_number((uint32_t)fd);
        else {
            uint32_t before = __atomic_exchange_n(&granted[name], (uint32_t)fd | kind << 16, __ATOMIC_ACQ_REL);
            if (before != 0) close_number(before & 0xffff);
        }
    }
    return true;
}

/* Takes all that has been granted since, unless another thread does. */
static void take(void) {
    if (__atomic_exchange_n(&taking, 1, __ATOMIC_ACQUIRE) != 0) return;
    while (take_one()) continue;
    __atomic_store_n(&taking, 0, __ATOMIC_RELEASE);
}

/* Number and kind, or 0. */
static uint32_t find(uint64_t name) {
    if (name < STREAMS || name >= NAMES) return 0;
    uint32_t found = __atomic_load_n(&granted[name], __ATOMIC_ACQUIRE);
    if (found != 0) return found;
    take();
    return __atomic_load_n(&granted[name], __ATOMIC_ACQUIRE);
}

static uint32_t number_of(uint32_t found) { return found & 0xffff; }
static uint32_t kind_of(uint32_t found) { return found >> 16; }

static uint32_t event_of(uint32_t slot) {
    uint32_t found = __atomic_load_n(&events[slot], __ATOMIC_ACQUIRE);
    if (found == 0) take();
    return __atomic_load_n(&events[slot], __ATOMIC_ACQUIRE);
}

static void forget(uint64_t name) {
    if (name >= NAMES) return;
    uint32_t before = __atomic_exchange_n(&granted[name], 0, __ATOMIC_ACQ_REL);
    if (before == 0) return;
    close_number(number_of(before));
    for (uint32_t i = 0; i < WATCHES; i++)
        if (watches[i].used && watches[i].name == name) watches[i].used = watches[i].threads = 0;
}

/* Milliseconds, as poll has them: rather too long than too short. */
static uint64_t milliseconds(int64_t wait) {
    if (wait < 0) return (uint64_t)-1;
    int64_t ms = wait / 1000000 + (wait % 1000000 != 0);
    return (uint64_t)(ms > INT32_MAX ? INT32_MAX : ms);
}

/* Begins a wait; false when the thread has been woken already. */
static bool begin(uint32_t slot, uint32_t how) {
    __atomic_store_n(&state[slot], how, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&token[slot], 0, __ATOMIC_SEQ_CST) == 0) return true;
    __atomic_store_n(&state[slot], RUNNING, __ATOMIC_SEQ_CST);
    return false;
}

static void end(uint32_t slot) { __atomic_store_n(&state[slot], RUNNING, __ATOMIC_SEQ_CST); }

/* The thread's event has fired: takes what it counted. */
static void woken(uint32_t slot) {
    uint64_t value;
    with_pages(SYS_READ, events[slot], (volatile uint8_t *)&value, sizeof value, sizeof value, 0);
    __atomic_store_n(&token[slot], 0, __ATOMIC_SEQ_CST);
}

/* Waits for `count` pollfds in the channel's data, behind which there is room for one more. */
static int64_t wait_for(struct libos_pollfd *fds, uint64_t count, int64_t wait) {
    uint32_t slot = libos_slot();
    if (wait == 0) return kernel(SYS_POLL, (uint64_t)fds, count, 0, 0, 0, 0);
    *(volatile struct libos_pollfd *)&fds[count] = (struct libos_pollfd){(int32_t)events[slot], POLLIN, 0};
    if (!begin(slot, IN_POLL)) return IO_WOKEN;
    int64_t ready = kernel(SYS_POLL, (uint64_t)fds, count + 1, milliseconds(wait), 0, 0, 0);
    end(slot);
    if (ready == -EINTR) return IO_WOKEN;
    if (ready > 0 && *(volatile int16_t *)&fds[count].revents != 0) {
        woken(slot);
        return ready > 1 ? ready - 1 : IO_WOKEN;
    }
    return ready;
}

/* Until one descriptor is ready: 1, 0 when that took too long, or IO_WOKEN. */
static int64_t wait_for_one(uint32_t number, int16_t what, int64_t wait) {
    /* Not in the data: those of a write are there already. */
    struct libos_pollfd *fds = (struct libos_pollfd *)(head() + ARRIVAL_AT + sizeof(struct arrival));
    *(volatile struct libos_pollfd *)fds = (struct libos_pollfd){(int32_t)number, what, 0};
    return wait_for(fds, 1, wait);
}
_Static_assert(ARRIVAL_AT + sizeof(struct arrival) + 2 * sizeof(struct libos_pollfd) <= LIBOS_CHANNEL_DATA, "room");

/* One that is not ready is waited for. */
static int64_t transfer(uint64_t call, uint32_t number, uint64_t length, uint64_t fourth, int64_t wait) {
    bool in = call == SYS_READ || call == SYS_RECVFROM;
    if (length > LIBOS_CHANNEL_ROOM) length = LIBOS_CHANNEL_ROOM;
    for (;;) {
        int64_t moved = kernel(call, number, (uint64_t)libos_io_data(), length, fourth, 0, 0);
        if (moved == -EINTR) continue;
        if (moved != -EAGAIN || wait == 0) return moved;
        int64_t ready = wait_for_one(number, in ? POLLIN : POLLOUT, wait);
        if (ready <= 0) return ready == 0 ? -EAGAIN : ready;
    }
}

/* Has the thread's event among those of an epoll. */
static bool watch(uint64_t name, uint32_t slot) {
    uint32_t at = WATCHES;
    for (uint32_t i = 0; i < WATCHES; i++) {
        if (watches[i].used && watches[i].name == name) {
            at = i;
            break;
        }
        if (!watches[i].used && at == WATCHES) at = i;
    }
    if (at == WATCHES) return false;
    if (!watches[at].used) {
        uint32_t expected = 0;
        if (!__atomic_compare_exchange_n(&watches[at].used, &expected, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return false;
        watches[at].name = (uint32_t)name;
    }
    uint64_t bit = 1ull << slot;
    if (watches[at].threads & bit) return true;
    const uint64_t arguments[6] = {name, EPOLL_CTL_ADD, GRANT_EVENT | slot, EPOLLIN, WAKE | slot, 0};
    int64_t added = libos_io(IO_EPOLL_CTL, arguments);
    if (added != 0 && added != -EEXIST) return false;
    __atomic_fetch_or(&watches[at].threads, bit, __ATOMIC_ACQ_REL);
    return true;
}

static int64_t wait_for_events(uint32_t number, uint64_t most, int64_t wait) {
    uint32_t slot = libos_slot();
    struct libos_event *list = (struct libos_event *)libos_io_data();
    if (wait != 0 && !begin(slot, IN_POLL)) return IO_WOKEN;
    int64_t count = kernel(SYS_EPOLL_WAIT, number, (uint64_t)list, most, milliseconds(wait), 0, 0);
    if (wait != 0) end(slot);
    if (count == -EINTR) return IO_WOKEN;
    if (count <= 0 || (uint64_t)count > most) return count;
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        struct libos_event event = *(volatile struct libos_event *)&list[i];
        if ((event.data | 0xffff) != (WAKE | 0xffff)) *(volatile struct libos_event *)&list[kept++] = event;
        else if (event.data == (WAKE | slot)) woken(slot);
    }
    return kept > 0 || wait == 0 ? kept : IO_WOKEN;
}

static bool epoll_wait(const uint64_t a[6], int64_t *result) {
    uint32_t found = find(a[0]);
    if (kind_of(found) != GRANT_EPOLL || a[1] == 0 || a[1] * sizeof(struct libos_event) > LIBOS_CHANNEL_ROOM) return false;
    if (a[2] != 0 && (event_of(libos_slot()) == 0 || !watch(a[0], libos_slot()))) return false;
    *result = wait_for_events(number_of(found), a[1], (int64_t)a[2]);
    return true;
}

/* pollfds with the runner's numbers stand behind the program's. */
static bool poll(const uint64_t a[6], int64_t *result) {
    struct libos_pollfd *theirs = (struct libos_pollfd *)libos_io_data();
    uint64_t count = a[0];
    if ((2 * count + 1) * sizeof *theirs > LIBOS_CHANNEL_ROOM) return false;
    if (a[1] != 0 && event_of(libos_slot()) == 0) return false;
    struct libos_pollfd *ours = theirs + count;
    for (uint64_t i = 0; i < count; i++) {
        struct libos_pollfd one = *(volatile struct libos_pollfd *)&theirs[i];
        uint32_t found = one.fd < 0 ? 0 : find((uint64_t)one.fd);
        if (one.fd >= 0 && found == 0) return false;
        one.fd = one.fd < 0 ? -1 : (int32_t)number_of(found);
        *(volatile struct libos_pollfd *)&ours[i] = one;
    }
    *result = wait_for(ours, count, (int64_t)a[1]);
    for (uint64_t i = 0; i < count; i++)
        *(volatile int16_t *)&theirs[i].revents = *(volatile int16_t *)&ours[i].revents;
    return true;
}

static int64_t park(int64_t wait) {
    uint32_t slot = libos_slot();
    if (wait == 0) {
        kernel(SYS_YIELD, 0, 0, 0, 0, 0, 0);
        return 0;
    }
    const volatile int64_t limit[2] = {wait / SECOND, wait % SECOND};
    if (!begin(slot, IN_FUTEX)) return IO_WOKEN;
    int64_t result =
        kernel(SYS_FUTEX, (uint64_t)&token[slot], FUTEX_WAIT_PRIVATE, 0, wait < 0 ? 0 : (uint64_t)limit, 0, 0);
    end(slot);
    return __atomic_exchange_n(&token[slot], 0, __ATOMIC_SEQ_CST) != 0 || result == 0 ? IO_WOKEN : 0;
}

/* False: the thread is not one that waits here, or not yet. */
static bool unpark(uint64_t slot) {
    if (slot >= LIBOS_CHANNELS) return false;
    uint32_t before = __atomic_exchange_n(&token[slot], 1, __ATOMIC_SEQ_CST);
    uint32_t how = __atomic_load_n(&state[slot], __ATOMIC_SEQ_CST);
    if (how == RUNNING) return false;
    if (before != 0) return true;
    volatile uint64_t one = 1; /* written just now, so its page is there */
    if (how == IN_FUTEX) kernel(SYS_FUTEX, (uint64_t)&token[slot], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    else kernel(SYS_WRITE, events[slot], (uint64_t)&one, sizeof one, 0, 0, 0);
    return true;
}

static bool on_stream(uint32_t found) { return kind_of(found) == GRANT_STREAM; }

static bool read_or_write(uint32_t op, const uint64_t a[6], int64_t *result) {
    uint32_t found = find(a[0]);
    if (kind_of(found) != GRANT_PLAIN && !on_stream(found)) return false;
    if (a[2] != 0 && event_of(libos_slot()) == 0) return false;
    *result = transfer(op == IO_READ ? SYS_READ : SYS_WRITE, number_of(found), a[1], 0, (int64_t)a[2]);
    return true;
}

/* Addresses are not for the runner. */
static bool receive_or_send(uint32_t op, const uint64_t a[6], int64_t *result) {
    uint32_t found = find(a[0]);
    bool in = op == IO_RECVFROM;
    if (!on_stream(found) || (!in && a[4] != 0) || (a[2] != 0 && event_of(libos_slot()) == 0)) return false;
    uint64_t flags = (a[3] & (in ? RECEIVE_FLAGS : SEND_FLAGS)) | MSG_DONTWAIT | MSG_NOSIGNAL;
    *result = transfer(in ? SYS_RECVFROM : SYS_SENDTO, number_of(found), a[1], flags, (int64_t)a[2]);
    if (in) *(volatile uint32_t *)&((struct libos_channel *)head())->address_length = 0;
    return true;
}

static bool at_offset(uint32_t op, const uint64_t a[6], int64_t *result) {
    uint32_t found = find(a[0]);
    if (kind_of(found) != GRANT_FILE) return false;
    uint64_t length = a[1] < LIBOS_CHANNEL_ROOM ? a[1] : LIBOS_CHANNEL_ROOM;
    *result = kernel(op == IO_PREAD ? SYS_PREAD : SYS_PWRITE, number_of(found), (uint64_t)libos_io_data(), length, a[2], 0, 0);
    return true;
}

bool libos_gate_io(uint32_t op, const uint64_t a[6], int64_t *result) {
    switch (op) {
        case IO_READ:
        case IO_WRITE:
            return read_or_write(op, a, result);
        case IO_RECVFROM:
        case IO_SENDTO:
            return receive_or_send(op, a, result);
        case IO_PREAD:
        case IO_PWRITE:
            return at_offset(op, a, result);
        case IO_EPOLL_WAIT:
            return epoll_wait(a, result);
        case IO_POLL:
            return poll(a, result);
        case IO_PARK:
            *result = park((int64_t)a[0]);
            return true;
        case IO_UNPARK:
            *result = 0;
            return unpark(a[0]);
        case IO_CLOSE:
            forget(a[0]);
            return false;
        default:
            return false;
    }
}
