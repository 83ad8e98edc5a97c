/* What a process asks about itself, where it is refused. */
#include "../check.h"
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define BAD ((void *)8)

int main(void) {
    char buffer[512];
    struct rlimit limit;
    struct rusage usage;

    puts("-- limits");
    SHOW(syscall(SYS_getrlimit, 16, &limit));
    SHOW(syscall(SYS_getrlimit, -1, &limit));
    SHOW(syscall(SYS_getrlimit, RLIMIT_NOFILE, BAD));
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, BAD));
    SHOW(syscall(SYS_setrlimit, 16, &limit));
    limit = (struct rlimit){20, 10};
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit));
    SHOW(syscall(SYS_prlimit64, -1, RLIMIT_NOFILE, NULL, &limit));
    SHOW(syscall(SYS_prlimit64, 0x7ffffff0, RLIMIT_NOFILE, NULL, &limit));
    SHOW(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, NULL));
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 40;
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    SHOW(limit.rlim_cur);
    SHOW(dup2(1, 39));
    SHOW(dup2(1, 40));
    SHOW(fcntl(1, F_DUPFD, 40));
    int last = 0, fd;
    while ((fd = dup(1)) >= 0) last = fd;
    SHOW(last < 40);
    SHOW(dup(1));
    SHOW(open("/", O_RDONLY));
    int ends[2];
    SHOW(pipe(ends));
    SHOW(getrlimit(RLIMIT_CORE, &limit));
    limit.rlim_cur = 0;
    SHOW(setrlimit(RLIMIT_CORE, &limit));
    for (int i = 3; i < 40; i++) close(i);

    puts("-- usage");
    SHOW(getrusage(RUSAGE_SELF, &usage));
    SHOW(usage.ru_maxrss > 0);
    SHOW(getrusage(RUSAGE_CHILDREN, &usage));
    SHOW(usage.ru_maxrss);
    SHOW(getrusage(77, &usage));
    SHOW(getrusage(RUSAGE_SELF, BAD));
    SHOW(syscall(SYS_sysinfo, BAD));
    struct sysinfo info;
    SHOW(sysinfo(&info));
    SHOW(info.totalram >= info.freeram && info.totalram > 0 && info.mem_unit > 0);
    SHOW(uname(BAD));

    puts("-- names");
    SHOW(prctl(PR_SET_NAME, BAD));
    SHOW(prctl(PR_GET_NAME, BAD));
    SHOW(prctl(PR_SET_NAME, "a name that is longer"));
    SHOW(prctl(PR_GET_NAME, buffer));
    puts(buffer);
    SHOW(prctl(9999, 0, 0, 0, 0));
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_SET_DUMPABLE, 7));
    SHOW(prctl(PR_SET_DUMPABLE, 0));
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_GET_KEEPCAPS));
    SHOW(prctl(PR_SET_PDEATHSIG, 99));
    SHOW(prctl(PR_SET_PDEATHSIG, SIGTERM));
    int number = 0;
    SHOW(prctl(PR_GET_PDEATHSIG, &number));
    SHOW(number);
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_GET_TIMERSLACK));
    SHOW(prctl(PR_SET_TIMERSLACK, 1000));
    SHOW(prctl(PR_GET_TIMERSLACK));

    puts("-- who");
    unsigned a, b, c;
    SHOW(getresuid(&a, &b, &c));
    SHOW(a + b + c);
    SHOW(syscall(SYS_getresuid, BAD, &b, &c));
    SHOW(setuid(0));
    SHOW(setgid(0));
    SHOW(setreuid(-1, -1));
    SHOW(setresuid(-1, 0, -1));
    SHOW(syscall(SYS_setuid, -1));
    SHOW(syscall(SYS_getgroups, -1, NULL));
    SHOW(syscall(SYS_setgroups, 70000, NULL));
    SHOW(syscall(SYS_setfsuid, -1));

    puts("-- groups of processes");
    SHOW(getpgid(0) == getpgrp());
    SHOW(getpgid(-1));
    SHOW(getpgid(0x7ffffff0));
    SHOW(getsid(0x7ffffff0));
    SHOW(setpgid(0, -1));
    SHOW(setpgid(-1, 0));
    SHOW(setpgid(0x7ffffff0, 0));

    puts("-- scheduling");
    struct sched_param parameter = {0};
    cpu_set_t set;
    SHOW(syscall(SYS_sched_getaffinity, 0, 4, &set));
    SHOW(syscall(SYS_sched_getaffinity, 0, sizeof set, BAD));
    SHOW(syscall(SYS_sched_getaffinity, 0x7ffffff0, sizeof set, &set));
    SHOW(syscall(SYS_sched_getaffinity, 0, sizeof set, &set) > 0);
    SHOW(CPU_COUNT(&set) > 0);
    CPU_ZERO(&set);
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof set, &set));
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof set, BAD));
    SHOW(sched_getscheduler(0));
    SHOW(sched_getscheduler(-1));
    SHOW(sched_getscheduler(0x7ffffff0));
    SHOW(sched_getparam(0, &parameter));
    SHOW(syscall(SYS_sched_getparam, 0, BAD));
    SHOW(sched_get_priority_max(SCHED_OTHER));
    SHOW(sched_get_priority_max(SCHED_FIFO));
    SHOW(sched_get_priority_min(SCHED_FIFO));
    SHOW(sched_get_priority_max(77));
    SHOW(sched_setscheduler(0, 77, &parameter));
    SHOW(sched_setscheduler(0, SCHED_OTHER, &parameter));
    SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
    SHOW(sched_yield());
    SHOW(syscall(SYS_getpriority, PRIO_PROCESS, 0));
    SHOW(syscall(SYS_getpriority, 77, 0));
    SHOW(syscall(SYS_getpriority, PRIO_PROCESS, 0x7ffffff0));
    SHOW(setpriority(PRIO_PROCESS, 0, 5));
    SHOW(syscall(SYS_getpriority, PRIO_PROCESS, 0));
    SHOW(setpriority(77, 0, 5));
    SHOW(syscall(SYS_getcpu, &a, &b, NULL));
    SHOW(syscall(SYS_getcpu, NULL, NULL, NULL));
    SHOW(syscall(SYS_getcpu, BAD, NULL, NULL));

    puts("-- capabilities");
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    SHOW(syscall(SYS_capget, &header, data));
    SHOW(syscall(SYS_capget, BAD, data));
    header.version = 7;
    SHOW(syscall(SYS_capget, &header, NULL));
    SHOW(syscall(SYS_capget, &header, data));
    SHOW(header.version == _LINUX_CAPABILITY_VERSION_3);

    puts("-- random numbers");
    SHOW(syscall(SYS_getrandom, buffer, 10, 0x10));
    SHOW(syscall(SYS_getrandom, buffer, 10, 6));
    SHOW(syscall(SYS_getrandom, BAD, 10, 0));
    SHOW(syscall(SYS_getrandom, buffer, 0, 0));
    SHOW(syscall(SYS_getrandom, buffer, 512, 1));

    puts("-- futexes");
    uint32_t word = 5, other = 0;
    struct timespec at = {0, 1000000}, wrong = {0, 1000000000};
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT, 4, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT, 5, &at, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 5, &wrong, NULL, 0));
    SHOW(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAIT, 5, &at, NULL, 0));
    SHOW(syscall(SYS_futex, BAD, FUTEX_WAIT, 5, &at, NULL, 0));
    SHOW(syscall(SYS_futex, BAD, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, 77, 1, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 5, &at, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 5, &at, NULL, 1));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &other, 4));
    SHOW(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &other, 5));
    SHOW(syscall(SYS_futex, &word, FUTEX_REQUEUE, 1, 1, &other, 0));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAKE_OP, 1, 1, &other, FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0)));
    SHOW(other);

    puts("-- the rest");
    SHOW(syscall(SYS_arch_prctl, 77, 0));
    SHOW(syscall(SYS_arch_prctl, 0x1003, BAD));
    SHOW(personality(0xffffffff) == 0);
    SHOW(syscall(SYS_ptrace, 77, 0, 0, 0) < 0);
    SHOW(syscall(SYS_set_tid_address, &word) == getpid());
    SHOW(syscall(SYS_set_robust_list, NULL, 1));
    SHOW(syscall(SYS_membarrier, 0, 0, 0) >= 0);
    SHOW(syscall(SYS_membarrier, 77, 0, 0));
    SHOW(syscall(SYS_get_mempolicy, &word, NULL, 0, 0, 0));
    SHOW(syscall(SYS_ioprio_get, 77, 0));
    SHOW(syscall(400));
    SHOW(syscall(-1));
    SHOW(syscall(1ul << 32));
    return 0;
}
