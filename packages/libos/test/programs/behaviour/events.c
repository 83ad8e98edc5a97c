/* Pipes, eventfds, poll, select and epoll where they refuse, and at their limits. */
#include "../check.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>

#define BAD ((void *)8)

static long add(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {events, {.u64 = data}};
    return epoll_ctl(epoll, operation, fd, &event);
}

static void wait_for(int epoll) {
    struct epoll_event found[8];
    int count = epoll_wait(epoll, found, 8, 0);
    printf("%d:", count);
    /* In which order they come is nobody's promise. */
    for (int i = 1; i < count; i++)
        for (int k = i; k > 0 && found[k].data.u64 < found[k - 1].data.u64; k--) {
            struct epoll_event other = found[k];
            found[k] = found[k - 1];
            found[k - 1] = other;
        }
    for (int i = 0; i < count; i++) printf(" %x/%ld", found[i].events, (long)found[i].data.u64);
    puts("");
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    char buffer[70000];
    int ends[2], available;
    memset(buffer, 'p', sizeof buffer);
    signal(SIGPIPE, SIG_IGN);

    puts("-- pipes");
    SHOW(pipe(BAD));
    SHOW(pipe2(ends, 0x1));
    SHOW(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    SHOW(fcntl(ends[0], F_GETFD));
    SHOW(fcntl(ends[0], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    SHOW(fcntl(ends[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    SHOW(read(ends[0], buffer, 1));
    SHOW(read(ends[1], buffer, 1));
    SHOW(write(ends[0], buffer, 1));
    SHOW(lseek(ends[0], 0, SEEK_CUR));
    SHOW(pread(ends[0], buffer, 1, 0));
    SHOW(pwrite(ends[1], buffer, 1, 0));
    SHOW(ftruncate(ends[1], 0));
    SHOW(fsync(ends[1]));
    SHOW(fallocate(ends[1], 0, 0, 1));
    SHOW(fcntl(ends[0], F_GETPIPE_SZ));
    SHOW(write(ends[1], buffer, 65536));
    SHOW(write(ends[1], buffer, 1));
    SHOW(ioctl(ends[0], FIONREAD, &available));
    SHOW(available);
    SHOW(read(ends[0], buffer, 4096));
    SHOW(write(ends[1], buffer, 10000));
    SHOW(read(ends[0], buffer, 70000));
    SHOW(write(ends[1], BAD, 1));
    SHOW(write(ends[1], buffer, 4));
    SHOW(read(ends[0], BAD, 4));
    SHOW(ioctl(ends[0], FIONREAD, &available));
    SHOW(available);
    SHOW(read(ends[0], buffer, 4));
    SHOW(write(ends[1], buffer, 0));
    SHOW(read(ends[0], buffer, 0));
    SHOW(fcntl(ends[0], F_SETPIPE_SZ, 4096));
    SHOW(write(ends[1], buffer, 4097));
    SHOW(write(ends[1], buffer, 1));
    SHOW(fcntl(ends[0], F_SETPIPE_SZ, 100000));
    SHOW(read(ends[0], buffer, 70000));
    struct pollfd both[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    SHOW(poll(both, 2, 0));
    SHOW(both[0].revents | both[1].revents << 8);
    SHOW(close(ends[0]));
    both[0].fd = -1;
    SHOW(poll(both, 2, 0));
    SHOW(both[1].revents);
    SHOW(write(ends[1], buffer, 1));
    SHOW(close(ends[1]));
    SHOW(pipe(ends));
    SHOW(write(ends[1], "ab", 2));
    SHOW(close(ends[1]));
    both[0] = (struct pollfd){ends[0], POLLIN, 0};
    SHOW(poll(both, 1, 0));
    SHOW(both[0].revents);
    SHOW(read(ends[0], buffer, 10));
    SHOW(read(ends[0], buffer, 10));
    SHOW(poll(both, 1, 0));
    SHOW(both[0].revents);
    SHOW(close(ends[0]));

    puts("-- eventfds");
    uint64_t value = 5;
    SHOW(eventfd(0, 0x10));
    int event = eventfd(3, EFD_NONBLOCK);
    SHOW(read(event, &value, 4));
    SHOW(read(event, &value, 8));
    SHOW(value);
    SHOW(read(event, &value, 8));
    value = ~0ull;
    SHOW(write(event, &value, 8));
    value = ~0ull - 1;
    SHOW(write(event, &value, 8));
    value = 1;
    SHOW(write(event, &value, 8));
    SHOW(write(event, &value, 4));
    both[0] = (struct pollfd){event, POLLIN | POLLOUT, 0};
    SHOW(poll(both, 1, 0));
    SHOW(both[0].revents);
    SHOW(read(event, &value, 8));
    SHOW(value == ~0ull - 1);
    int semaphore = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);
    SHOW(read(semaphore, &value, 8));
    SHOW(value);
    SHOW(read(semaphore, &value, 8));
    SHOW(read(semaphore, &value, 8));
    SHOW(lseek(event, 0, SEEK_SET));

    puts("-- poll and select");
    struct pollfd of = {77, POLLIN, 0};
    SHOW(poll(&of, 1, 0));
    SHOW(of.revents);
    of.fd = -5;
    SHOW(poll(&of, 1, 0));
    SHOW(of.revents);
    SHOW(poll(BAD, 1, 0));
    SHOW(poll(NULL, 0, 1));
    SHOW(syscall(SYS_poll, &of, 2000000u, 0));
    struct timespec wrong = {0, 1000000000}, none = {0, 0};
    SHOW(syscall(SYS_ppoll, &of, 1, &wrong, NULL, 8));
    SHOW(syscall(SYS_ppoll, &of, 1, BAD, NULL, 8));
    SHOW(syscall(SYS_ppoll, &of, 1, &none, BAD, 8));
    SHOW(syscall(SYS_ppoll, &of, 1, &none, &value, 4));
    int file = open("f", O_RDWR | O_CREAT, 0600);
    of = (struct pollfd){file, POLLIN | POLLOUT | POLLPRI, 0};
    SHOW(poll(&of, 1, 0));
    SHOW(of.revents);
    fd_set set;
    struct timeval zero = {0, 0}, negative = {-1, 0};
    FD_ZERO(&set);
    /* Linux looks at no more than its table has, which is 64 at least. */
    FD_SET(57, &set);
    SHOW(syscall(SYS_select, 58, &set, NULL, NULL, &zero));
    SHOW(syscall(SYS_select, -1, NULL, NULL, NULL, &zero));
    SHOW(syscall(SYS_select, 0, NULL, NULL, NULL, &negative));
    SHOW(syscall(SYS_select, 1, BAD, NULL, NULL, &zero));
    SHOW(syscall(SYS_select, 1, NULL, NULL, NULL, BAD));
    FD_ZERO(&set);
    FD_SET(file, &set);
    SHOW(syscall(SYS_select, file + 1, &set, NULL, NULL, &zero));
    SHOW(FD_ISSET(file, &set) != 0);
    FD_ZERO(&set);
    FD_SET(event, &set);
    value = 0;
    SHOW(syscall(SYS_select, event + 1, &set, NULL, NULL, &zero));
    SHOW(FD_ISSET(event, &set) != 0);

    puts("-- epoll");
    SHOW(epoll_create(0));
    SHOW(epoll_create1(1));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    SHOW(epoll >= 0);
    SHOW(fcntl(epoll, F_GETFD));
    SHOW(add(epoll, EPOLL_CTL_ADD, 77, EPOLLIN, 1));
    SHOW(add(77, EPOLL_CTL_ADD, event, EPOLLIN, 1));
    SHOW(add(event, EPOLL_CTL_ADD, event, EPOLLIN, 1));
    SHOW(add(epoll, EPOLL_CTL_ADD, epoll, EPOLLIN, 1));
    SHOW(add(epoll, EPOLL_CTL_ADD, file, EPOLLIN, 1));
    SHOW(add(epoll, 77, event, EPOLLIN, 1));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, event, BAD));
    SHOW(add(epoll, EPOLL_CTL_MOD, event, EPOLLIN, 1));
    SHOW(add(epoll, EPOLL_CTL_DEL, event, EPOLLIN, 1));
    SHOW(add(epoll, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLOUT, 1));
    SHOW(add(epoll, EPOLL_CTL_ADD, event, EPOLLIN, 1));
    struct epoll_event found[4];
    SHOW(epoll_wait(epoll, found, 0, 0));
    SHOW(epoll_wait(epoll, found, -1, 0));
    SHOW(epoll_wait(epoll, BAD, 1, 0));
    SHOW(epoll_wait(event, found, 1, 0));
    SHOW(epoll_wait(77, found, 1, 0));
    SHOW(read(epoll, buffer, 1));
    SHOW(write(epoll, buffer, 1));
    wait_for(epoll);
    SHOW(add(epoll, EPOLL_CTL_MOD, event, EPOLLIN | EPOLLONESHOT, 2));
    wait_for(epoll);
    value = 1;
    SHOW(write(event, &value, 8));
    wait_for(epoll);
    wait_for(epoll);
    SHOW(add(epoll, EPOLL_CTL_MOD, event, EPOLLIN | EPOLLET, 3));
    wait_for(epoll);
    wait_for(epoll);
    SHOW(write(event, &value, 8));
    wait_for(epoll);
    wait_for(epoll);
    SHOW(read(event, &value, 8));
    wait_for(epoll);
    SHOW(pipe(ends));
    SHOW(add(epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLRDHUP, 4));
    SHOW(add(epoll, EPOLL_CTL_ADD, ends[1], EPOLLOUT, 5));
    wait_for(epoll);
    SHOW(write(ends[1], "x", 1));
    wait_for(epoll);
    int copy = dup(ends[0]);
    SHOW(close(ends[0]));
    wait_for(epoll);
    SHOW(close(copy));
    wait_for(epoll);
    SHOW(close(ends[1]));
    wait_for(epoll);
    int outer = epoll_create1(0);
    SHOW(add(outer, EPOLL_CTL_ADD, epoll, EPOLLIN, 6));
    SHOW(add(epoll, EPOLL_CTL_ADD, outer, EPOLLIN, 7));
    wait_for(outer);
    value = 1;
    SHOW(write(event, &value, 8));
    wait_for(outer);
    SHOW(add(epoll, EPOLL_CTL_DEL, event, 0, 0));
    wait_for(outer);
    SHOW(syscall(SYS_epoll_pwait, epoll, found, 1, 0, NULL, 8));
    SHOW(syscall(SYS_epoll_pwait, epoll, found, 1, 0, &value, 4));
    SHOW(syscall(SYS_epoll_pwait2, epoll, found, 1, &none, NULL, 8));
    SHOW(syscall(SYS_epoll_pwait2, epoll, found, 1, &wrong, NULL, 8));
    return 0;
}
