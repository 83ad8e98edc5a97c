/* Signals that come to threads which only compute, or wait: timers, other threads, the end of the process. */
#include "check.h"
#include <pthread.h>

static volatile sig_atomic_t ticks, hits;
static volatile int who;
static __thread int own;

static void tick(int signal) { ticks++; }
static void hit(int signal, siginfo_t *info, void *context) {
    who = own;
    hits++;
}

static void spin_until(volatile sig_atomic_t *what, int least) {
    while (*what < least) __asm__ volatile("" : : : "memory");
}

static void *busy(void *arg) {
    own = 7;
    volatile double kept = 1.25;
    unsigned long sum = 0;
    while (hits < 3) sum = sum * 31 + 1;
    printf("kept %f, who %d\n", kept, who);
    return NULL;
}

static void *sleeper(void *arg) {
    own = 9;
    struct timespec time = {100, 0};
    SHOW(nanosleep(&time, NULL));
    return NULL;
}

static void *forever(void *arg) {
    for (;;) __asm__ volatile("" : : : "memory");
    return NULL;
}

static void on_alarm(int signal, siginfo_t *info, void *context) {
    printf("signal %d code %d\n", signal, info->si_code);
    hits++;
}

static void interval(int which, int signal) {
    struct itimerval timer = {{0, 10000}, {0, 10000}}, before;
    ticks = 0;
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    SHOW(sigaction(signal, &action, NULL));
    SHOW(setitimer(which, &timer, NULL));
    spin_until(&ticks, 3);
    memset(&timer, 0, sizeof timer);
    SHOW(setitimer(which, &timer, &before));
    SHOW(before.it_interval.tv_usec);
    SHOW(getitimer(which, &timer));
    SHOW(timer.it_value.tv_sec + timer.it_value.tv_usec);
}

int main(void) {
    interval(ITIMER_REAL, SIGALRM);
    interval(ITIMER_VIRTUAL, SIGVTALRM);
    interval(ITIMER_PROF, SIGPROF);

    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    sigaction(SIGALRM, &action, NULL);
    SHOW(alarm(100));
    SHOW(alarm(1));
    SHOW(pause());
    SHOW(alarm(0));
    struct itimerval once = {{0, 0}, {0, 20000}};
    SHOW(setitimer(ITIMER_REAL, &once, NULL));
    char byte;
    int ends[2];
    SHOW(pipe(ends));
    SHOW(read(ends[0], &byte, 1));
    hits = 0;

    action.sa_sigaction = hit;
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, busy, NULL);
    for (int i = 1; i <= 3; i++) {
        while (hits < i) {
            pthread_kill(thread, SIGUSR1);
            usleep(20000);
        }
    }
    SHOW(pthread_join(thread, NULL));
    pthread_create(&thread, NULL, sleeper, NULL);
    usleep(50000);
    pthread_kill(thread, SIGUSR1);
    SHOW(pthread_join(thread, NULL));
    SHOW(who);
    /* A signal for the process that its first thread blocks is the other's. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    hits = 0;
    pthread_create(&thread, NULL, busy, NULL);
    SHOW(pthread_sigmask(SIG_BLOCK, &set, NULL));
    while (hits < 3) {
        kill(getpid(), SIGUSR1);
        usleep(5000);
    }
    SHOW(pthread_join(thread, NULL));
    fflush(stdout);
    pthread_create(&thread, NULL, forever, NULL);
    pthread_create(&thread, NULL, sleeper, NULL);
    usleep(20000);
    exit(5);
}
