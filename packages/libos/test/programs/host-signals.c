/* Signals of the host: to a program that computes, sleeps, waits in poll, and has no handler in the end. */
#include "check.h"
#include <sys/ioctl.h>

static volatile sig_atomic_t got;
static void tell(int signal, siginfo_t *info, void *context) { got = signal * 10 + (info->si_pid == 0); }

static int next(void) {
    while (got == 0) __asm__ volatile("" : : : "memory");
    int what = got;
    got = 0;
    return what;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
    int handled[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH, SIGCONT};
    for (int i = 0; i < 5; i++) sigaction(handled[i], &action, NULL);
    write(1, "1", 1);
    int first = next();
    write(1, "2", 1);
    int slept = sleep(100) > 0 ? next() : 0;
    struct pollfd none = {-1, 0, 0};
    write(1, "3", 1);
    int polled = poll(&none, 1, -1) == -1 && errno == EINTR ? next() : 0;
    write(1, "4", 1);
    int resized = next();
    struct winsize size;
    int width = ioctl(2, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
    write(1, "5", 1);
    int continued = next();
    printf(" %d %d %d %d %d %d\n", first, slept, polled, resized, continued, width);
    fflush(stdout);
    write(1, "6", 1);
    for (;;) __asm__ volatile("" : : : "memory");
}
