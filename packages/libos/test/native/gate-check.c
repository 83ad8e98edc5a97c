/*
 * The enclave's half of `gate` (native/src/transport/gate.c) and the host's (native-host), in one ordinary process: the
 * call that the runner offers is a system call of this process, and the threads of the program are threads here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gate.h"
#include "grant.h"

/* native-host */
uint64_t nsgx_lh_open(uint64_t channels, uint64_t ram, uint64_t ram_length, uint32_t spinners, uint32_t spin, uint32_t limit);
int64_t nsgx_lh_grant(uint64_t host, int32_t fd);
int64_t nsgx_lh_grants(uint64_t host, int32_t socket);
int64_t nsgx_lh_epoll(uint64_t host);
int64_t nsgx_lh_socket(uint64_t host, int32_t domain, int32_t type, int32_t protocol);
int32_t nsgx_lh_serve(uint64_t host, uint32_t slot);
void nsgx_lh_close(uint64_t host);

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
static _Atomic uint32_t by_channel;

uint32_t libos_slot(void) { return slot; }
static struct libos_channel *channel(void) { return (struct libos_channel *)(channels + slot * LIBOS_CHANNEL_STRIDE); }
uint8_t *libos_io_data(void) { return (uint8_t *)channel() + LIBOS_CHANNEL_DATA; }

/* As native/src/transport/ring.c. */
int64_t libos_io(uint32_t op, const uint64_t a[6]) {
    int64_t result;
    if (libos_gate_io(op, a, &result)) return result;
    struct libos_channel *c = channel();
    by_channel++;
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

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define MS 1000000ull
#define FOR_EVER ((uint64_t)-1)

static void streams(void) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    /* What Node gives away is plain to the host. */
    int64_t name = nsgx_lh_grant(host, pair[0]);
    CHECK(name >= 3);
    uint32_t before = by_channel;
    CHECK(io(IO_READ, name, 100, 0, 0, 0) == -EAGAIN);
    memcpy(libos_io_data(), "hello", 5);
    CHECK(io(IO_WRITE, name, 5, 0, 0, 0) == 5);
    char text[16];
    CHECK(read(pair[1], text, sizeof text) == 5 && memcmp(text, "hello", 5) == 0);
    CHECK(write(pair[1], "back", 4) == 4);
    CHECK(io(IO_READ, name, 100, FOR_EVER, 0, 0) == 4 && memcmp(libos_io_data(), "back", 4) == 0);
    int64_t start = milliseconds();
    CHECK(io(IO_READ, name, 100, 30 * MS, 0, 0) == -EAGAIN);
    CHECK(milliseconds() - start >= 29);
    CHECK(by_channel == before);
    CHECK(io(IO_CLOSE, name, 0, 0, 0, 0) == 0);
    CHECK(read(pair[1], text, 1) == 0); /* nobody has it any more */
    CHECK(io(IO_READ, name, 100, 0, 0, 0) == -EBADF);
    close(pair[1]);
    /* The name may come back for something else. */
    int64_t tcp = nsgx_lh_socket(host, AF_INET, SOCK_STREAM, 0);
    CHECK(tcp > 0);
    before = by_channel;
    CHECK(io(IO_RECVFROM, tcp, 100, 0, 0, 0) == -ENOTCONN);
    CHECK(io(IO_SENDTO, tcp, 5, 0, 0, 0) == -EPIPE);
    CHECK(by_channel == before);
    CHECK(io(IO_SHUTDOWN, tcp, 2, 0, 0, 0) == -ENOTCONN);
    CHECK(by_channel == before + 1);
    CHECK(io(IO_CLOSE, tcp, 0, 0, 0, 0) == 0);
}

static void files(void) {
    int64_t name = nsgx_lh_grant(host, memfd_create("file", 0));
    uint32_t before = by_channel;
    memcpy(libos_io_data(), "page", 4);
    CHECK(io(IO_PWRITE, name, 4, 4096, 0, 0) == 4);
    memset(libos_io_data(), 0, 4);
    CHECK(io(IO_PREAD, name, LIBOS_CHANNEL_ROOM, 4096, 0, 0) == 4 && memcmp(libos_io_data(), "page", 4) == 0);
    CHECK(by_channel == before);
    CHECK(io(IO_CLOSE, name, 0, 0, 0, 0) == 0);
}

struct waker {
    uint32_t target, slot;
    int after;
};

static void *wake_later(void *argument) {
    struct waker w = *(struct waker *)argument;
    slot = w.slot;
    usleep((useconds_t)w.after * 1000);
    io(IO_UNPARK, w.target, 0, 0, 0, 0);
    return NULL;
}

static pthread_t waker(uint32_t target, int after) {
    static struct waker w;
    w = (struct waker){target, 63, after};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wake_later, &w) == 0);
    return thread;
}

static void waits(void) {
    int ends[2];
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    int64_t name = nsgx_lh_grant(host, ends[0]);
    int64_t epoll = nsgx_lh_epoll(host);
    CHECK(io(IO_EPOLL_CTL, epoll, EPOLL_CTL_ADD, name, EPOLLIN, 4711) == 0);
    uint32_t before;
    for (int round = 0; round < 20; round++) {
        pthread_t thread = waker(slot, 5);
        CHECK(io(IO_PARK, FOR_EVER, 0, 0, 0, 0) == IO_WOKEN);
        pthread_join(thread, NULL);
        thread = waker(slot, 5);
        CHECK(io(IO_READ, name, 10, FOR_EVER, 0, 0) == IO_WOKEN);
        pthread_join(thread, NULL);
        thread = waker(slot, 5);
        before = by_channel;
        CHECK(io(IO_EPOLL_WAIT, epoll, 64, FOR_EVER, 0, 0) == IO_WOKEN);
        if (round > 0) CHECK(by_channel == before);
        pthread_join(thread, NULL);
        thread = waker(slot, 5);
        struct libos_pollfd *fds = (struct libos_pollfd *)libos_io_data();
        fds[0] = (struct libos_pollfd){(int32_t)name, 1, 0};
        fds[1] = (struct libos_pollfd){-1, 1, 77};
        CHECK(io(IO_POLL, 2, FOR_EVER, 0, 0, 0) == IO_WOKEN);
        pthread_join(thread, NULL);
    }
    /* A wake-up that comes first is kept, once. */
    pthread_join(waker(slot, 0), NULL);
    CHECK(io(IO_PARK, FOR_EVER, 0, 0, 0, 0) == IO_WOKEN);
    int64_t start = milliseconds();
    CHECK(io(IO_PARK, 20 * MS, 0, 0, 0, 0) == 0);
    CHECK(io(IO_EPOLL_WAIT, epoll, 64, 20 * MS, 0, 0) == 0);
    CHECK(milliseconds() - start >= 39);
    CHECK(write(ends[1], "x", 1) == 1);
    before = by_channel;
    CHECK(io(IO_EPOLL_WAIT, epoll, 64, FOR_EVER, 0, 0) == 1);
    struct libos_event event = *(struct libos_event *)libos_io_data();
    CHECK(event.events == EPOLLIN && event.data == 4711);
    struct libos_pollfd *fds = (struct libos_pollfd *)libos_io_data();
    fds[0] = (struct libos_pollfd){(int32_t)name, 1, 0};
    CHECK(io(IO_POLL, 1, FOR_EVER, 0, 0, 0) == 1 && fds[0].revents == 1 && fds[0].fd == name);
    CHECK(io(IO_READ, name, 10, FOR_EVER, 0, 0) == 1);
    CHECK(by_channel == before);
    CHECK(io(IO_CLOSE, epoll, 0, 0, 0, 0) == 0);
    int64_t again = nsgx_lh_epoll(host);
    pthread_t thread = waker(slot, 5);
    CHECK(io(IO_EPOLL_WAIT, again, 64, FOR_EVER, 0, 0) == IO_WOKEN);
    pthread_join(thread, NULL);
    CHECK(io(IO_CLOSE, again, 0, 0, 0, 0) == 0);
    CHECK(io(IO_CLOSE, name, 0, 0, 0, 0) == 0);
    close(ends[1]);
}

/* Two threads hand a turn to and fro: no wake-up is lost. */
#define TURNS 20000
static _Atomic int turn;
static void *player(void *argument) {
    int me = (int)(intptr_t)argument;
    slot = (uint32_t)me;
    for (int i = 0; i < TURNS; i++) {
        while (turn % 2 != me) io(IO_PARK, FOR_EVER, 0, 0, 0, 0);
        turn++;
        io(IO_UNPARK, (uint64_t)(1 - me), 0, 0, 0, 0);
    }
    return NULL;
}

static void turns(void) {
    pthread_t players[2];
    for (intptr_t i = 0; i < 2; i++) CHECK(pthread_create(&players[i], NULL, player, (void *)i) == 0);
    for (int i = 0; i < 2; i++) pthread_join(players[i], NULL);
    CHECK(turn == 2 * TURNS);
}

static int granting;

static void send_raw(const void *bytes, size_t length, const int *fds, size_t count) {
    char control[CMSG_SPACE(sizeof(int) * 8)] = {0};
    struct iovec part = {(void *)bytes, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){CMSG_LEN(sizeof(int) * count), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    CHECK(sendmsg(granting, &message, 0) == (ssize_t)length);
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Names, kinds and numbers of descriptors that an honest host never sends: nothing of it stays, and the next is served. */
static void nonsense(void) {
    int file = memfd_create("file", 0), two[2] = {file, file};
    int before = open_descriptors();
    const struct libos_grant odd[] = {{8192, GRANT_FILE}, {0xffffffff, GRANT_FILE}, {77, 0}, {77, 99}, {77, 0x10001}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) send_raw(&odd[i], sizeof *odd, &file, 1);
    send_raw(&(struct libos_grant){77, GRANT_FILE}, sizeof *odd, NULL, 0);
    CHECK(io(IO_PREAD, 78, 8, 0, 0, 0) == -EBADF);
    CHECK(io(IO_PREAD, 77, 8, 0, 0, 0) == -EBADF);
    CHECK(open_descriptors() == before);
    /* A name given twice is the latest descriptor's; of two with one name the second goes. */
    for (int i = 0; i < 3; i++) send_raw(&(struct libos_grant){77, GRANT_FILE}, sizeof *odd, two, 1);
    send_raw(&(struct libos_grant){77, GRANT_FILE}, sizeof *odd, two, 2);
    CHECK(io(IO_PREAD, 77, 8, 0, 0, 0) == 0);
    CHECK(open_descriptors() == before + 1);
    CHECK(io(IO_CLOSE, 77, 0, 0, 0, 0) == -EBADF); /* the host's table has none */
    CHECK(open_descriptors() == before);
    /* What does not suit a kind goes by the channel, and is refused there. */
    send_raw(&(struct libos_grant){77, GRANT_EPOLL}, sizeof *odd, &file, 1);
    CHECK(io(IO_READ, 77, 8, 0, 0, 0) == -EBADF);
    CHECK(io(IO_EPOLL_WAIT, 77, 8, 0, 0, 0) == -EINVAL);
    CHECK(io(IO_CLOSE, 77, 0, 0, 0, 0) == -EBADF);
    CHECK(io(IO_UNPARK, 64, 0, 0, 0, 0) == 0);
    close(file);
}

int main(void) {
    int pair[2];
    alarm(60);
    signal(SIGPIPE, SIG_IGN);
    /* DESCRIPTOR_CALL: syscall; ret */
    void *call = mmap((void *)0x41000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(call == (void *)0x41000000);
    memcpy(call, "\x0f\x05\xc3", 3);
    channels = mmap(NULL, LIBOS_CHANNELS * LIBOS_CHANNEL_STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(channels != MAP_FAILED);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    int socket = fcntl(pair[0], F_DUPFD, 20);
    CHECK(dup2(pair[1], 5) == 5);
    host = nsgx_lh_open((uint64_t)channels, (uint64_t)channels, LIBOS_CHANNELS * LIBOS_CHANNEL_STRIDE, 0, 0, 4096);
    CHECK(host != 0 && nsgx_lh_grants(host, socket) == 0);
    granting = socket;
    streams();
    files();
    nonsense();
    waits();
    turns();
    nsgx_lh_close(host);
    puts("passed");
    return 0;
}
