/* Computes until it is continued, and then stops itself. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

static volatile int continued;
static void on_continue(int signal) { continued++; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(void) {
    double last = now(), until = last + 60, stood = 0;
    signal(SIGCONT, on_continue);
    while (!continued && last < until) {
        double next = now();
        if (next - last > stood) stood = next - last;
        last = next;
    }
    if (now() - last > stood) stood = now() - last;
    printf("continued %d, had stood still %d", continued, stood > 0.03);
    raise(SIGSTOP);
    printf(", and then %d, %d\n", continued, now() - last > 0.03);
}
