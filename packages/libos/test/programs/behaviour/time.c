/* Clocks, sleeps and timers where they refuse. */
#include "../check.h"
#include <sys/timerfd.h>
#include <sys/times.h>
#include <utime.h>

#define BAD ((void *)8)

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    struct timespec at, short_time = {0, 1000000}, wrong = {0, 1000000000}, before = {-1, 0};
    struct timeval value;

    puts("-- clocks");
    for (long clock = -1; clock < 8; clock++) printf("%ld %ld\n", clock, syscall(SYS_clock_gettime, clock, &at));
    SHOW(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD));
    SHOW(syscall(SYS_clock_getres, 77, &at));
    SHOW(syscall(SYS_clock_getres, CLOCK_MONOTONIC, BAD));
    SHOW(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
    SHOW(syscall(SYS_clock_getres, CLOCK_MONOTONIC, &at));
    SHOW(at.tv_sec * 1000000000 + at.tv_nsec);
    SHOW(syscall(SYS_gettimeofday, &value, NULL));
    SHOW(syscall(SYS_gettimeofday, BAD, NULL));
    SHOW(syscall(SYS_gettimeofday, NULL, NULL));
    SHOW(syscall(SYS_gettimeofday, NULL, BAD));
    SHOW(syscall(SYS_time, BAD));
    SHOW(syscall(SYS_times, BAD));
    SHOW(times(NULL) > 0);
    struct timespec real, coarse;
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
    SHOW(real.tv_sec - coarse.tv_sec <= 1);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    int backwards = 0;
    for (int i = 0; i < 10000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &b);
        backwards += b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec);
        a = b;
    }
    SHOW(backwards);
    struct timespec cpu;
    SHOW(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu));
    SHOW(cpu.tv_sec < 60);
    SHOW(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu));

    puts("-- sleeping");
    SHOW(syscall(SYS_nanosleep, &short_time, NULL));
    SHOW(syscall(SYS_nanosleep, BAD, NULL));
    SHOW(syscall(SYS_nanosleep, NULL, NULL));
    SHOW(syscall(SYS_nanosleep, &wrong, NULL));
    SHOW(syscall(SYS_nanosleep, &before, NULL));
    SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &short_time, NULL));
    SHOW(syscall(SYS_clock_nanosleep, 77, 0, &short_time, NULL));
    SHOW(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &short_time, NULL));
    SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &short_time, NULL));
    SHOW(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &wrong, NULL));
    SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, BAD, NULL));
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 10; i++) nanosleep(&(struct timespec){0, 100000}, NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double spent = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
    SHOW(spent >= 1e6);

    puts("-- timer descriptors");
    SHOW(timerfd_create(77, 0));
    SHOW(timerfd_create(CLOCK_MONOTONIC, 0x10));
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    SHOW(timer >= 0);
    SHOW(fcntl(timer, F_GETFD));
    uint64_t count = 0;
    SHOW(read(timer, &count, 8));
    SHOW(read(timer, &count, 4));
    SHOW(write(timer, &count, 8));
    struct itimerspec every = {{0, 0}, {0, 1000000}}, found;
    SHOW(timerfd_settime(timer, 0x100, &every, NULL));
    SHOW(timerfd_settime(timer, 0, BAD, NULL));
    SHOW(timerfd_settime(77, 0, &every, NULL));
    SHOW(timerfd_settime(1, 0, &every, NULL));
    SHOW(timerfd_gettime(timer, BAD));
    SHOW(timerfd_gettime(77, &found));
    every.it_value.tv_nsec = 1000000000;
    SHOW(timerfd_settime(timer, 0, &every, NULL));
    every.it_value.tv_nsec = 2000000;
    SHOW(timerfd_settime(timer, 0, &every, &found));
    SHOW(found.it_value.tv_nsec);
    struct pollfd of = {timer, POLLIN, 0};
    SHOW(poll(&of, 1, 1000));
    SHOW(of.revents);
    SHOW(read(timer, BAD, 8));
    SHOW(read(timer, &count, 8));
    SHOW(count);
    SHOW(read(timer, &count, 8));
    every = (struct itimerspec){{0, 1000000}, {0, 1}};
    SHOW(timerfd_settime(timer, 0, &every, NULL));
    usleep(10000);
    SHOW(read(timer, &count, 8));
    SHOW(count >= 9);
    SHOW(timerfd_settime(timer, 0, &(struct itimerspec){0}, &found));
    SHOW(found.it_interval.tv_nsec);
    SHOW(poll(&of, 1, 5));
    SHOW(lseek(timer, 0, SEEK_SET));
    SHOW(pread(timer, &count, 8, 0));
    return 0;
}
