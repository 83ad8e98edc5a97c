#include "check.h"
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <math.h>

static _Thread_local int local = 17;

int main(int argc, char **argv, char **envp) {
    char buffer[64] = {0};
    struct timespec a, b;
    printf("%d %s %s\n", argc, argv[argc - 1], getenv("PROBE"));
    SHOW(local);
    SHOW(envp[0] != NULL);
    SHOW(prctl(PR_SET_NAME, "probe"));
    SHOW(prctl(PR_GET_NAME, buffer));
    puts(buffer);
    SHOW(getpid() > 0);
    SHOW(syscall(SYS_gettid) == getpid());
    SHOW(getrandom(buffer, 16, 0));
    SHOW(syscall(100000));
    SHOW(kill(getpid(), 0));
    SHOW(kill(getpid(), SIGCHLD));
    SHOW(clock_gettime(CLOCK_MONOTONIC, &a));
    SHOW(usleep(20000));
    SHOW(clock_gettime(CLOCK_MONOTONIC, &b));
    double passed = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    SHOW(passed >= 0.02 && passed < 2);
    SHOW(clock_gettime(99, &a));
    SHOW(time(NULL) > 1700000000);
    struct rlimit limit;
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    SHOW(limit.rlim_cur >= 256);
    SHOW(umask(027));
    SHOW(umask(022));
    /* Vector registers survive calls that leave and calls that do not. */
    volatile double x = 2;
    double sum = 0;
    for (int i = 1; i < 50; i++) {
        sum += sqrt(x * i);
        getppid();
        if (i % 10 == 0) fflush(stdout);
    }
    printf("%.10f\n", sum);
    struct utsname name;
    SHOW(uname(&name));
    printf("%s %s\n", name.sysname, name.machine);
    abort();
}
