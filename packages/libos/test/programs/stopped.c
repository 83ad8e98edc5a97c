/* Computes until it has stood still for some time, and then stops itself. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(void) {
    double last = now(), until = last + 10;
    int stood = 0;
    while (!stood && last < until) {
        double next = now();
        stood = next - last > 0.03;
        last = next;
    }
    raise(SIGSTOP);
    printf("stopped for a while %d, and again %d\n", stood, now() - last > 0.03);
}
