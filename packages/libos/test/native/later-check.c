/*
 * What is put off and read ahead: the enclave's half (native/src/transport/later.c) and the host's (native-host) in one
 * ordinary process, and each of them against the other's lies.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "later.h"

/* native-host */
uint64_t nsgx_lh_open(uint64_t channels, uint64_t ram, uint64_t ram_length, uint32_t spinners, uint32_t spin, uint32_t limit);
int64_t nsgx_lh_epoll(uint64_t host);
int64_t nsgx_lh_socket(uint64_t host, int32_t domain, int32_t type, int32_t protocol);
int64_t nsgx_lh_control(uint64_t host, uint32_t op, uint32_t index, int64_t a, int64_t b, void *data, uint32_t length);
int32_t nsgx_lh_serve(uint64_t host, uint32_t slot);
void nsgx_lh_stop(uint64_t host);
void nsgx_lh_close(uint64_t host);
enum { BIND = 1, LISTEN = 3, GETSOCKNAME };

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static uint8_t *channels;
static uint64_t host;
static _Thread_local uint32_t slot;
static uint32_t posted[LIBOS_CHANNELS];
static uint32_t calls;

uint32_t libos_slot(void) { return slot; }
static struct libos_channel *channel(void) { return (struct libos_channel *)(channels + slot * LIBOS_CHANNEL_STRIDE); }
uint8_t *libos_io_data(void) { return (uint8_t *)channel() + LIBOS_CHANNEL_DATA; }
static struct libos_later *later(void) { return (struct libos_later *)((uint8_t *)channel() + LIBOS_CHANNEL_LATER); }

int64_t libos_io(uint32_t op, const uint64_t a[6]) {
    struct libos_channel *c = channel();
    calls++;
    memcpy(c->argument, a, sizeof c->argument);
    c->op = op;
    __atomic_store_n(&c->posted, ++posted[slot], __ATOMIC_SEQ_CST);
    nsgx_lh_serve(host, slot);
    return c->result;
}

static int64_t io(uint32_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
    const uint64_t arguments[6] = {a, b, c, d, e, 0};
    return libos_io(op, arguments);
}

/* As native/src/io.c. */
static int64_t put(int64_t fd, const void *data, uint64_t length) {
    uint8_t *room = libos_later_room((uint64_t)fd, length);
    memcpy(room != NULL ? room : libos_io_data(), data, length);
    if (room == NULL) return io(IO_WRITE, (uint64_t)fd, length, 0, 0, 0);
    libos_later_send((uint64_t)fd, length);
    return (int64_t)length;
}

static int64_t get(int64_t fd, void *data, uint64_t length) {
    uint64_t part;
    const uint8_t *ahead = libos_ahead((uint64_t)fd, length, &part);
    if (ahead != NULL) {
        CHECK(part <= length);
        memcpy(data, ahead, part);
        return (int64_t)part;
    }
    bool known = libos_ahead_reads((uint64_t)fd);
    int64_t got = io(IO_READ, (uint64_t)fd, length, 0, 0, 0);
    if (known) libos_ahead_has_read((uint64_t)fd);
    if (got > 0) memcpy(data, libos_io_data(), (size_t)got);
    return got;
}

static int64_t events(int64_t epoll, int64_t wait) {
    bool ahead = libos_ahead_wanted();
    int64_t count = io(IO_EPOLL_WAIT, (uint64_t)epoll, 64, (uint64_t)wait, ahead, 0);
    if (ahead && count > 0) libos_ahead_seen();
    return count;
}

static void close_it(int64_t fd) {
    if (!libos_later_close((uint64_t)fd)) CHECK(io(IO_CLOSE, (uint64_t)fd, 0, 0, 0, 0) == 0);
}

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t listener, epoll;
static struct sockaddr_in address = {.sin_family = AF_INET};

/* A connection: the client's end, and the name of the program's. */
struct pair {
    int client;
    int64_t name;
};

static struct pair pair(void) {
    struct pair p = {socket(AF_INET, SOCK_STREAM, 0), 0};
    CHECK(connect(p.client, (struct sockaddr *)&address, sizeof address) == 0);
    p.name = io(IO_ACCEPT, (uint64_t)listener, (uint64_t)-1, 0, 0, 0);
    CHECK(p.name >= 3);
    libos_later_connection((uint64_t)p.name);
    if (libos_later_watch((uint64_t)epoll, EPOLL_CTL_ADD, (uint64_t)p.name, EPOLLIN, (uint64_t)p.name)) return p;
    uint64_t data = (uint64_t)p.name | (uint64_t)libos_later_name((uint64_t)p.name) << 32;
    CHECK(io(IO_EPOLL_CTL, (uint64_t)epoll, EPOLL_CTL_ADD, (uint64_t)p.name, EPOLLIN, data) == 0);
    return p;
}

static void talk(int fd, const char *text) { CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text)); }

static bool hears(int fd, const char *text) {
    char found[64];
    size_t length = strlen(text);
    return recv(fd, found, length, MSG_WAITALL) == (ssize_t)length && memcmp(found, text, length) == 0;
}

/* Until things may be put off: by as many waits as that takes. */
static void become_welcome(struct pair p) {
    for (int i = 0; i < 5000 && later()->welcome == 0; i++) {
        char byte;
        talk(p.client, "x");
        CHECK(events(epoll, -1) == 1);
        CHECK(get(p.name, &byte, 1) == 1);
    }
    CHECK(later()->welcome == 1);
}

/* How many calls out something takes. */
#define COSTS(count, what) \
    do { \
        uint32_t before = calls; \
        what; \
        CHECK(calls - before == (count)); \
    } while (0)

static void one_call_for_a_round(struct pair p, struct pair q) {
    char text[64];
    become_welcome(p);
    for (int i = 0; i < 50; i++) {
        talk(p.client, "from p");
        talk(q.client, "from q");
        int64_t ready = 0;
        for (int tries = 0; ready < 2 && tries < 1000; tries++) ready = events(epoll, -1);
        CHECK(ready == 2);
        become_welcome(p);
        uint32_t before = calls;
        int64_t first = get(p.name, text, 4), rest = get(p.name, text + 4, 60);
        CHECK(first == 4 && rest == 2 && memcmp(text, "from p", 6) == 0);
        CHECK(get(q.name, text, 64) == 6 && memcmp(text, "from q", 6) == 0);
        CHECK(put(p.name, "to p", 4) == 4 && put(q.name, "to q", 4) == 4);
        if (i > 40) CHECK(calls - before <= 1); /* a slow machine may let one go at once */
        CHECK(events(epoll, 0) == 0);
        CHECK(hears(p.client, "to p") && hears(q.client, "to q"));
        CHECK(get(p.name, text, 1) == -EAGAIN);
    }
}

/* Nobody asks for anything: it goes all the same, and soon. */
static void goes_by_itself(struct pair p) {
    become_welcome(p);
    int64_t start = milliseconds();
    CHECK(put(p.name, "alone", 5) == 5);
    CHECK(hears(p.client, "alone"));
    CHECK(milliseconds() - start < 200);
    /* After a while of nothing it is called for. */
    for (int i = 0; i < 500 && later()->welcome != 0; i++) usleep(1000);
    CHECK(later()->welcome == 0);
    COSTS(1, CHECK(put(p.name, "again", 5) == 5));
    CHECK(hears(p.client, "again"));
}

struct other {
    struct pair p;
    const char *text;
};
static void *other(void *argument) {
    struct other *o = argument;
    slot = 1;
    CHECK(put(o->p.name, o->text, strlen(o->text)) == (int64_t)strlen(o->text));
    return NULL;
}

/* What another thread writes after this one comes after it; what it reads is not read twice. */
static void *other_reads(void *argument) {
    char text[8];
    slot = 2;
    CHECK(get(((struct pair *)argument)->name, text, 3) == 3 && memcmp(text, "abc", 3) == 0);
    return NULL;
}

static void order_among_threads(struct pair p) {
    pthread_t thread;
    become_welcome(p);
    for (int i = 0; i < 20; i++) {
        struct other o = {p, "second "};
        CHECK(put(p.name, "first ", 6) == 6);
        pthread_create(&thread, NULL, other, &o);
        pthread_join(thread, NULL);
        CHECK(put(p.name, "third ", 6) == 6);
        CHECK(events(epoll, 0) == 0);
        CHECK(hears(p.client, "first second third "));
    }
    become_welcome(p);
    talk(p.client, "abcdef");
    CHECK(events(epoll, -1) == 1);
    pthread_create(&thread, NULL, other_reads, &p);
    pthread_join(thread, NULL);
    char text[8];
    CHECK(get(p.name, text, 8) == 3 && memcmp(text, "def", 3) == 0);
}

/* A client that does not read: what it was told is sent is kept, nothing is lost, and the rest of it is refused. */
static void slow_client(bool closes) {
    static uint8_t block[16384], found[16384];
    struct pair p = pair();
    uint64_t sent = 0;
    for (int i = 0; i < 20000; i++) {
        for (size_t k = 0; k < sizeof block; k++) block[k] = (uint8_t)((sent + k) * 7 >> 3);
        int64_t now = put(p.name, block, sizeof block);
        if (now == -EAGAIN) break;
        CHECK(now > 0);
        sent += (uint64_t)now;
        if (i % 4 == 3) CHECK(events(epoll, 0) == 0);
    }
    if (closes) close_it(p.name);
    CHECK(events(epoll, 0) == 0);
    uint64_t got = 0;
    while (got < sent) {
        uint64_t part = sent - got < sizeof found ? sent - got : sizeof found;
        ssize_t now = recv(p.client, found, part, 0);
        CHECK(now > 0);
        for (ssize_t k = 0; k < now; k++) CHECK(found[k] == (uint8_t)((got + (uint64_t)k) * 7 >> 3));
        got += (uint64_t)now;
    }
    if (closes) {
        CHECK(recv(p.client, found, 1, 0) == 0);
    } else {
        CHECK(put(p.name, "more", 4) == 4);
        CHECK(events(epoll, 0) == 0 && hears(p.client, "more"));
        close_it(p.name);
        CHECK(events(epoll, 0) == 0);
    }
    close(p.client);
}

static void closing(struct pair p) {
    struct pair q = pair();
    become_welcome(p);
    talk(q.client, "last words");
    CHECK(events(epoll, -1) == 1);
    char text[16];
    CHECK(get(q.name, text, 16) == 10);
    CHECK(put(q.name, "bye", 3) == 3);
    close_it(q.name);
    CHECK(io(IO_READ, (uint64_t)q.name, 1, 0, 0, 0) == -EBADF);
    CHECK(hears(q.client, "bye") && recv(q.client, text, 1, 0) == 0); /* no reset */
    close(q.client);
}

/* The errors of what was put off come with the next request. */
static void late_errors(struct pair p) {
    struct pair q = pair();
    char text[16];
    struct linger reset = {1, 0};
    become_welcome(p);
    setsockopt(q.client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(q.client);
    become_welcome(p);
    int64_t result = 0;
    for (int i = 0; i < 10 && result >= 0; i++) result = put(q.name, "x", 1), events(epoll, 0);
    CHECK(result == -ECONNRESET || result == -EPIPE);
    result = get(q.name, text, 1);
    CHECK(result == 0 || result == -ECONNRESET);
    close_it(q.name);
}

/* Entries that the library OS does not write. */
static void lying_enclave(struct pair p) {
    static const struct libos_later_entry wrong[] = {
        {LATER_SEND, 0, 5, 0, 0, 0},          {LATER_SEND, 0xffffffff, 5, 0, 0, 0}, {LATER_SEND, 0, 0xffffffff, 16, 0, 0},
        {LATER_SEND, 0, 16, 0xfffffff8, 0, 0}, {LATER_TAKE, 0, 0xffffffff, 0, 0, 0}, {LATER_TAKE, 8191, 5, 0, 0, 0},
        {LATER_CLOSE, 8191, 0, 0, 0, 0},      {LATER_CLOSE, 0xffffffff, 0, 0, 0, 0}, {LATER_WATCH, 0, 1, 1, 8191, 0}, {LATER_WATCH, 0, 77, 1, 3, 0}, {LATER_WATCH, 8191, 1, 1, 0xffffffff, 0},
        {77, 0, 0, 0, 0, 0},
    };
    slot = 9;
    uint32_t number = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        later()->entries[number % LIBOS_LATER_ENTRIES] = wrong[i];
        if ((wrong[i].op == LATER_SEND || wrong[i].op == LATER_WATCH) && wrong[i].fd == 0 && i > 0) later()->entries[number % LIBOS_LATER_ENTRIES].fd = (uint32_t)p.name;
        __atomic_store_n(&later()->put, ++number, __ATOMIC_SEQ_CST);
        CHECK(io(IO_NOTHING, 0, 0, 0, 0, 0) == 0);
        CHECK(later()->taken == number);
    }
    __atomic_store_n(&later()->put, number += 1000, __ATOMIC_SEQ_CST);
    CHECK(io(IO_NOTHING, 0, 0, 0, 0, 0) == 0 && later()->taken == number);
    slot = 0;
    char byte;
    CHECK(recv(p.client, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* Options that were not allowed, and what makes or names descriptors, are for the policy. */
int32_t nsgx_lh_allow(uint64_t host, int32_t level, int32_t name);
static void options(struct pair p) {
    int one = 1;
    memcpy(libos_io_data(), &one, sizeof one);
    const uint64_t fd = (uint64_t)p.name, no_delay[6] = {fd, CONTROL_SETSOCKOPT, 6, 1, sizeof one, 0};
    CHECK(libos_io(IO_CONTROL, no_delay) == IO_ASK);
    CHECK(nsgx_lh_allow(host, 6, 1) == 0);
    CHECK(libos_io(IO_CONTROL, no_delay) == 0);
    CHECK(io(IO_CONTROL, fd, CONTROL_GETSOCKOPT, 6, 1, sizeof one) == sizeof one && libos_io_data()[0] == 1);
    CHECK(io(IO_CONTROL, fd, CONTROL_SETSOCKOPT, 1, 36, sizeof one) == IO_ASK);
    CHECK(io(IO_CONTROL, fd, CONTROL_GETPEERNAME, 0, 0, 128) == sizeof address);
    CHECK(io(IO_CONTROL, fd, CONTROL_GETPEERNAME, 0, 0, 1ull << 40) == IO_ASK);
    for (uint64_t other = 0; other < 12; other++)
        if (other < CONTROL_GETSOCKNAME || other > CONTROL_QUEUED) CHECK(io(IO_CONTROL, fd, other, 0, 0, 16) == IO_ASK);
    CHECK(io(IO_CONTROL, (uint64_t)epoll, CONTROL_QUEUED, 0, 0, 0) == IO_ASK);
    CHECK(io(IO_CONTROL, 4000, CONTROL_QUEUED, 0, 0, 0) == -EBADF);
}

/* A host that says what cannot be: nothing is read beyond what it shows, and nothing is written elsewhere. */
static void lying_host(void) {
    static const struct libos_ahead wrong[] = {
        {20, 0xffffffff, 0}, {20, 100, 0xfffffff0}, {20, LIBOS_AHEAD_ROOM, 1}, {0xffffffff, 5, 0}, {20, 0, 0}, {4000, 5, 0},
    };
    uint64_t part;
    slot = 12;
    libos_later_connection(20);
    later()->welcome = 1;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(libos_ahead_wanted());
        later()->ahead[0] = wrong[i];
        later()->aheads = 1;
        libos_ahead_seen();
        CHECK(libos_ahead(20, 100, &part) == NULL && libos_ahead(4000, 100, &part) == NULL);
    }
    CHECK(libos_ahead_wanted());
    later()->aheads = 0xffffffff;
    libos_ahead_seen();
    for (uint32_t i = 0; i < LIBOS_AHEAD_ENTRIES; i++) later()->ahead[i] = (struct libos_ahead){20, LIBOS_AHEAD_ROOM, 0};
    later()->aheads = LIBOS_AHEAD_ENTRIES;
    CHECK(libos_ahead_wanted());
    libos_ahead_seen();
    CHECK(libos_ahead(20, 1u << 30, &part) != NULL && part == LIBOS_AHEAD_ROOM);
    /* It is done with more than there is, and with nothing ever: the thread goes on by itself. */
    for (uint32_t taken = 0; taken < 5; taken++) {
        later()->taken = taken * 0x33333333u;
        for (int i = 0; i < 200; i++) {
            uint8_t *room = libos_later_room(20, 16384);
            if (room == NULL) continue;
            CHECK(room >= later()->data && room + 16384 <= later()->data + LIBOS_LATER_ROOM);
            later()->entries[0].fd = 0;
            libos_later_send(20, 16384);
        }
    }
    slot = 0;
}

/* With an argument: with servers beside, as `ring` has them where processors are idle. */
int main(int count, char **arguments) {
    (void)arguments;
    uint32_t spinners = count > 1 ? 1000 : 0;
    size_t bytes = (size_t)LIBOS_CHANNELS * LIBOS_CHANNEL_STRIDE;
    channels = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    host = nsgx_lh_open((uint64_t)channels, (uint64_t)channels, bytes, spinners, 300000, 4096);
    CHECK(host != 0);
    libos_later_start(true);
    listener = nsgx_lh_socket(host, AF_INET, SOCK_STREAM, 0);
    epoll = nsgx_lh_epoll(host);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(nsgx_lh_control(host, BIND, (uint32_t)listener, 0, 0, &address, sizeof address) == 0);
    CHECK(nsgx_lh_control(host, LISTEN, (uint32_t)listener, 16, 0, &address, 0) == 0);
    CHECK(nsgx_lh_control(host, GETSOCKNAME, (uint32_t)listener, 0, 0, &address, sizeof address) == sizeof address);
    struct pair p = pair(), q = pair();
    one_call_for_a_round(p, q);
    goes_by_itself(p);
    order_among_threads(p);
    slow_client(false);
    slow_client(true);
    closing(p);
    late_errors(p);
    lying_enclave(p);
    options(p);
    /* At the end what is put off is done. */
    become_welcome(p);
    CHECK(put(p.name, "the end", 7) == 7);
    nsgx_lh_stop(host);
    CHECK(hears(p.client, "the end"));
    lying_host();
    nsgx_lh_close(host);
    puts("passed");
    return 0;
}
