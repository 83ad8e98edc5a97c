/* Counts with general and vector registers, below its stack pointer and in system calls, while signals and interrupts come. */
#include "check.h"
#include <pthread.h>
#include <stdbool.h>

static volatile sig_atomic_t ticks;
static void tick(int signal) {
    /* What handlers use is not the program's. */
    volatile double noise[16];
    for (int i = 0; i < 16; i++) noise[i] = i * 1.5 + signal;
    ticks += noise[3] > 0;
}

/* A leaf: its variables may lie below the stack pointer. */
static __attribute__((noinline)) double leaf(double a, const double *list) {
    double parts[8];
    for (int i = 0; i < 8; i++) parts[i] = a * list[i];
    for (int round = 0; round < 200; round++)
        for (int i = 0; i < 8; i++) parts[i] = parts[i] * 0.99 + list[(i + round) & 7];
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += parts[i];
    return sum;
}

struct counted {
    double sum;
    unsigned long hash;
};

static struct counted run(long which) {
    double list[8], sum = 0;
    unsigned long hash = 1469598103934665603ul;
    for (int i = 0; i < 8; i++) list[i] = i + 0.25 * which;
    for (int i = 0; i < 120000; i++) {
        sum += leaf(sum * 1e-9 + i, list);
        hash = (hash ^ (unsigned long)i) * 1099511628211ul;
        if ((i & 15) == 0 && getppid() < 0) break;
    }
    return (struct counted){sum, hash};
}

static void *count(void *arg) {
    struct counted got = run((long)arg);
    printf("%.17g %lx\n", got.sum, got.hash);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 1000}, {0, 1000}};
    SHOW(setitimer(ITIMER_REAL, &often, NULL));
    count((void *)1);
#ifndef ALONE
    pthread_t thread;
    pthread_create(&thread, NULL, count, (void *)2);
    SHOW(pthread_join(thread, NULL));
#endif
    /* How many signals come in that time is the machine's matter: again until there were enough. */
    struct counted first = run(1);
    bool same = true;
    for (int i = 0; i < 300 && ticks <= 20; i++) {
        struct counted again = run(1);
        same = same && memcmp(&again, &first, sizeof first) == 0;
    }
    SHOW(same);
    SHOW(ticks > 20);
    return 0;
}
