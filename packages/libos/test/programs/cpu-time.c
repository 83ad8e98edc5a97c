/* Time of the processor, CPUs, yielding: what holds wherever a program runs. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <sys/times.h>

static double of(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) return -1;
    return time.tv_sec + time.tv_nsec / 1e9;
}
static void burn(double seconds) {
    double end = of(CLOCK_MONOTONIC) + seconds;
    while (of(CLOCK_MONOTONIC) < end) continue;
}
static void *worker(void *arg) {
    double before = of(CLOCK_THREAD_CPUTIME_ID);
    usleep(50000);
    SHOW(of(CLOCK_THREAD_CPUTIME_ID) - before < 0.03);
    return NULL;
}
static volatile int ready, go;
static void *yielder(void *arg) {
    ready = 1;
    while (!go) sched_yield();
    return NULL;
}

int main(void) {
    double process = of(CLOCK_PROCESS_CPUTIME_ID), thread = of(CLOCK_THREAD_CPUTIME_ID);
    usleep(60000);
    SHOW(of(CLOCK_PROCESS_CPUTIME_ID) - process < 0.04);
    SHOW(of(CLOCK_THREAD_CPUTIME_ID) - thread < 0.04);
    burn(0.05);
    SHOW(of(CLOCK_PROCESS_CPUTIME_ID) - process > 0.01);
    struct rusage usage;
    SHOW(getrusage(RUSAGE_SELF, &usage));
    SHOW(usage.ru_utime.tv_sec == 0 && usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 10000);
    SHOW(getrusage(RUSAGE_THREAD, &usage));
    SHOW(getrusage(7, &usage));
    struct tms ticks;
    SHOW(times(&ticks) > 0);
    SHOW(ticks.tms_utime + ticks.tms_stime >= 1 && ticks.tms_utime < 50);
    clockid_t clock;
    SHOW(pthread_getcpuclockid(pthread_self(), &clock));
    SHOW(of(clock) > 0);
    SHOW(clock_getcpuclockid(0, &clock));
    SHOW(of(clock) > 0);
    SHOW(clock_getcpuclockid(99999999, &clock));
    pthread_t other;
    pthread_create(&other, NULL, worker, NULL);
    pthread_join(other, NULL);
    cpu_set_t set;
    SHOW(sched_getaffinity(0, sizeof set, &set));
    SHOW(CPU_COUNT(&set) == sysconf(_SC_NPROCESSORS_ONLN) || CPU_COUNT(&set) > 0);
    SHOW(sched_setaffinity(0, sizeof set, &set));
    CPU_ZERO(&set);
    SHOW(sched_setaffinity(0, sizeof set, &set));
    SHOW(syscall(SYS_sched_getaffinity, 0, 4, &set));
    SHOW(sched_getcpu() >= 0);
    pthread_create(&other, NULL, yielder, NULL);
    while (!ready) sched_yield();
    for (int i = 0; i < 100; i++) sched_yield();
    go = 1;
    SHOW(pthread_join(other, NULL));
    return 0;
}
