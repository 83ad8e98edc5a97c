/*
 * System calls, timed. Compiled by `nsgx bench libos` and run natively and in an enclave:
 *     micro FOLDER NAME...
 * Writes "NAME nanoseconds" for each, or "NAME - reason". With threads when linked with -pthread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7
#define BATCH_NS 4000000.0
#define KIB 1024

static char buffer[1024 * KIB];
static const char *folder;
static int file = -1;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static void fail(const char *what) {
    printf(" - %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(0);
}

#define CHECK(expression) \
    if ((long)(expression) < 0) fail(#expression)

static void getpid_call(void) { syscall(SYS_getpid); }

/* A form that no rewriting proves safe: something jumps right behind it. */
__attribute__((noinline)) static void trapped(void) {
    long result;
    __asm__ volatile("test %%eax, %%eax\n\tjs 1f\n\tsyscall\n1:\tnop\n\tnop\n\tnop\n\tnop"
                     : "=a"(result)
                     : "a"((long)SYS_getpid)
                     : "rcx", "r11", "memory");
}

static void clock_call(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
}

static void a_file(void) {
    if (file >= 0) return;
    char path[256];
    snprintf(path, sizeof path, "%s/nsgx-micro-%d", folder, getpid());
    CHECK(file = open(path, O_RDWR | O_CREAT, 0600));
    unlink(path);
    CHECK(pwrite(file, buffer, sizeof buffer, 0));
}

static void lseek_call(void) { CHECK(lseek(file, 0, SEEK_SET)); }
static void fstat_call(void) {
    struct stat status;
    CHECK(fstat(file, &status));
}
static void stat_call(void) {
    struct stat status;
    CHECK(stat(folder, &status));
}
static void open_close(void) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    CHECK(fd);
    close(fd);
}
static void read_64(void) { CHECK(pread(file, buffer, 64, 0)); }
static void read_4k(void) { CHECK(pread(file, buffer, 4 * KIB, 0)); }
static void read_256k(void) { CHECK(pread(file, buffer, 256 * KIB, 0)); }
static void write_1(void) { CHECK(pwrite(file, buffer, 1, 0)); }
static void write_4k(void) { CHECK(pwrite(file, buffer, 4 * KIB, 0)); }
static void write_256k(void) { CHECK(pwrite(file, buffer, 256 * KIB, 0)); }

static int ends[2];
static void a_pipe(void) { CHECK(pipe(ends)); }
static void pipe_byte(void) {
    CHECK(write(ends[1], buffer, 1));
    CHECK(read(ends[0], buffer, 1));
}
static void pipe_4k(void) {
    CHECK(write(ends[1], buffer, 4 * KIB));
    CHECK(read(ends[0], buffer, 4 * KIB));
}

static void mmap_call(void) {
    char *at = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("mmap");
    for (int i = 0; i < 16; i++) ((volatile char *)at)[i * 4096] = 1;
    munmap(at, 64 * KIB);
}

static int event = -1, epoll = -1;
static void an_epoll(void) {
    CHECK(event = eventfd(1, EFD_NONBLOCK));
    CHECK(epoll = epoll_create1(0));
    struct epoll_event wanted = {.events = EPOLLIN};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted));
}
static void epoll_call(void) {
    struct epoll_event found;
    CHECK(epoll_wait(epoll, &found, 1, 0));
}
static void poll_call(void) {
    struct pollfd of = {event, POLLIN, 0};
    CHECK(poll(&of, 1, 0));
}

static uint32_t word;
static void futex_wake(void) { CHECK(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0)); }

static void handler(int number) { (void)number; }
static void a_handler(void) { signal(SIGUSR1, handler); }
static void signal_call(void) { raise(SIGUSR1); }

static void *nothing(void *argument) { return argument; }
static void thread_call(void) {
    pthread_t thread;
    if ((errno = pthread_create(&thread, NULL, nothing, NULL)) != 0) fail("pthread_create");
    pthread_join(thread, NULL);
}

/* Two threads that wake each other in turn. */
static pthread_t partner;
static int back[2];
static void start(void *(*body)(void *)) {
    if ((errno = pthread_create(&partner, NULL, body, NULL)) != 0) fail("pthread_create");
}

static void *pipe_partner(void *argument) {
    char byte;
    while (read(ends[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1);
    return argument;
}
static void a_pipe_partner(void) {
    CHECK(pipe(ends));
    CHECK(pipe(back));
    start(pipe_partner);
}
static void round_trip(void) {
    char byte = 1;
    CHECK(write(ends[1], &byte, 1));
    CHECK(read(back[0], &byte, 1));
}
static void a_socket_partner(void) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, back));
    start(pipe_partner);
}

static void wait_for(uint32_t value) {
    uint32_t found;
    while ((found = __atomic_load_n(&word, __ATOMIC_ACQUIRE)) != value)
        syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, found, 0, 0, 0);
}
static void hand_over(uint32_t value) {
    __atomic_store_n(&word, value, __ATOMIC_RELEASE);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}
static void *futex_partner(void *argument) {
    for (;;) {
        wait_for(1);
        hand_over(0);
    }
    return argument;
}
static void a_futex_partner(void) { start(futex_partner); }
static void futex_round(void) {
    hand_over(1);
    wait_for(0);
}

static const struct {
    const char *name;
    void (*prepare)(void), (*call)(void);
} CALLS[] = {
    {"getpid", NULL, getpid_call},
    {"getpid-trapped", NULL, trapped},
    {"clock_gettime", NULL, clock_call},
    {"lseek", a_file, lseek_call},
    {"fstat", a_file, fstat_call},
    {"stat", NULL, stat_call},
    {"open-close", NULL, open_close},
    {"read-64", a_file, read_64},
    {"read-4096", a_file, read_4k},
    {"read-262144", a_file, read_256k},
    {"write-1", a_file, write_1},
    {"write-4096", a_file, write_4k},
    {"write-262144", a_file, write_256k},
    {"pipe-1", a_pipe, pipe_byte},
    {"pipe-4096", a_pipe, pipe_4k},
    {"mmap-64K", NULL, mmap_call},
    {"epoll_wait", an_epoll, epoll_call},
    {"poll", an_epoll, poll_call},
    {"futex-wake", NULL, futex_wake},
    {"signal", a_handler, signal_call},
    {"thread", NULL, thread_call},
    {"futex-round", a_futex_partner, futex_round},
    {"pipe-round", a_pipe_partner, round_trip},
    {"socketpair-round", a_socket_partner, round_trip},
};

static int compare(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

static void measure(const char *name) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        if (strcmp(CALLS[i].name, name) != 0) continue;
        printf("%s", name);
        if (CALLS[i].prepare != NULL) CALLS[i].prepare();
        double spent = 0, figures[BATCHES];
        long count = 1;
        for (;;) {
            double begin = now();
            for (long k = 0; k < count; k++) CALLS[i].call();
            spent = now() - begin;
            if (spent >= BATCH_NS / 2) break;
            count = spent < BATCH_NS / 100 ? count * 10 : (long)((double)count * BATCH_NS / spent) + 1;
        }
        for (int batch = 0; batch < BATCHES; batch++) {
            double begin = now();
            for (long k = 0; k < count; k++) CALLS[i].call();
            figures[batch] = (now() - begin) / (double)count;
        }
        qsort(figures, BATCHES, sizeof *figures, compare);
        printf(" %.2f\n", figures[BATCHES / 2]);
        fflush(stdout);
        return;
    }
    printf("%s - unknown\n", name);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    folder = argv[1];
    memset(buffer, 1, sizeof buffer);
    for (int i = 2; i < argc; i++) measure(argv[i]);
    _exit(0);
}
