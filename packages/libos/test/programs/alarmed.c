/* Computes until its alarm ends it. */
#include "check.h"

int main(void) {
    struct itimerval soon = {{0, 0}, {0, 400000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    write(1, "1\n", 2);
    for (;;) __asm__ volatile("" : : : "memory");
}
