#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int wait_all(int epoll, int timeout) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, timeout);
    printf("%d:", count);
    for (int i = 0; i < count; i++) printf(" %d/%x", events[i].data.fd, events[i].events);
    puts("");
    return count;
}

static void handler(int signal) { printf("handler %d\n", signal); }

/* More descriptors than a select can have. */
static void many(void) {
    enum { MANY = 1500 };
    static struct pollfd fds[MANY];
    static struct epoll_event events[MANY];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int epoll = epoll_create1(0), made = 0;
    for (int i = 0; i < MANY; i++) {
        fds[i] = (struct pollfd){eventfd(i % 2, EFD_NONBLOCK), POLLIN, 0};
        struct epoll_event event = {EPOLLIN, {.fd = i}};
        if (fds[i].fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i].fd, &event) == 0) made++;
    }
    SHOW(made);
    SHOW(poll(fds, MANY, 0));
    SHOW(fds[MANY - 1].revents);
    SHOW(fds[MANY - 2].revents);
    for (int i = 0; i < MANY; i += 2) eventfd_write(fds[i].fd, 1);
    SHOW(epoll_wait(epoll, events, MANY, 0));
    SHOW(poll(fds, 1u << 30, 0));
}

int main(int argc, char **argv) {
    int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    char buffer[64];
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    SHOW(epoll >= 0);
    SHOW(pipe(ends));
    struct epoll_event event = {EPOLLIN, {.fd = 100}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[1], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, 99, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event));
    SHOW(epoll_ctl(epoll, 9, ends[0], &event));
    int file = open("f", O_RDWR | O_CREAT, 0600);
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event));
    wait_all(epoll, 0);
    wait_all(epoll, 5);
    SHOW(write(ends[1], "abcd", 4));
    wait_all(epoll, 0);
    wait_all(epoll, -1);
    event.events = EPOLLIN | EPOLLET;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    wait_all(epoll, 0);
    wait_all(epoll, 0);
    SHOW(write(ends[1], "e", 1));
    wait_all(epoll, 0);
    wait_all(epoll, 0);
    event.events = EPOLLIN | EPOLLONESHOT;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    wait_all(epoll, 0);
    wait_all(epoll, 0);
    event = (struct epoll_event){EPOLLOUT, {.fd = 101}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[1], &event));
    wait_all(epoll, 0);
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[1], NULL));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[1], NULL));
    event.events = EPOLLIN;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    SHOW(close(ends[1]));
    SHOW(read(ends[0], buffer, 64));
    wait_all(epoll, 0);
    SHOW(close(ends[0]));
    wait_all(epoll, 0);
    SHOW(epoll_wait(epoll, NULL, 0, 0));
    SHOW(epoll_wait(file, &event, 1, 0));
    SHOW(read(epoll, buffer, 8));

    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t value;
    struct itimerspec setting = {{0, 0}, {0, 20000000}};
    SHOW(read(timer, &value, 8));
    SHOW(timerfd_settime(timer, 0, &setting, NULL));
    SHOW(timerfd_gettime(timer, &setting));
    SHOW(setting.it_value.tv_nsec > 0 && setting.it_value.tv_nsec <= 20000000);
    event = (struct epoll_event){EPOLLIN, {.fd = 102}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event));
    wait_all(epoll, 0);
    wait_all(epoll, 2000);
    SHOW(read(timer, &value, 8));
    SHOW(value);
    SHOW(read(timer, &value, 8));
    SHOW(read(timer, &value, 4));
    SHOW(lseek(timer, 0, SEEK_SET));
    SHOW(timerfd_settime(file, 0, &setting, NULL));
    SHOW(fcntl(timer, F_SETFL, 0));
    setting = (struct itimerspec){{0, 5000000}, {0, 5000000}};
    SHOW(timerfd_settime(timer, 0, &setting, NULL));
    SHOW(usleep(22000));
    SHOW(read(timer, &value, 8));
    SHOW(value >= 4);

    sigset_t set;
    struct signalfd_siginfo info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SHOW(sigprocmask(SIG_BLOCK, &set, NULL));
    int signals = signalfd(-1, &set, SFD_NONBLOCK);
    SHOW(read(signals, &info, sizeof info));
    SHOW(raise(SIGUSR1));
    struct pollfd polled = {signals, POLLIN, 0};
    SHOW(poll(&polled, 1, 0));
    SHOW(read(signals, &info, sizeof info) == sizeof info);
    SHOW(info.ssi_signo);
    SHOW(poll(&polled, 1, 0));
    signal(SIGUSR1, handler);
    SHOW(raise(SIGUSR1));
    sigemptyset(&set);
    SHOW(sigsuspend(&set));
    SHOW(sigprocmask(SIG_BLOCK, NULL, &set));
    SHOW(sigismember(&set, SIGUSR1));

    SHOW(write(file, "0123456789", 10));
    int other = open("g", O_RDWR | O_CREAT, 0600);
    off_t from = 3;
    SHOW(copy_file_range(file, &from, other, NULL, 5, 0));
    SHOW(from);
    SHOW(pread(other, buffer, 64, 0));
    printf("%.5s\n", buffer);
    many();
    return 0;
}
