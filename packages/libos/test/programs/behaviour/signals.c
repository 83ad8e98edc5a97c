/* Signals where they refuse, and in which order they come. */
#include "../check.h"
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <ucontext.h>

#define BAD ((void *)8)

struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

static int order[16], count;
static void note(int number) { order[count++ & 15] = number; }
static void with_info(int number, siginfo_t *info, void *context) {
    (void)context;
    printf("signal %d code %d value %d mine %d\n", number, info->si_code, info->si_value.sival_int,
           info->si_pid == getpid());
}
static void nested(int number) {
    order[count++ & 15] = number;
    raise(SIGUSR2);
    order[count++ & 15] = -number;
}

static void told(void) {
    for (int i = 0; i < count; i++) printf("%d ", order[i]);
    puts("");
    count = 0;
}

int main(void) {
    struct kernel_action action = {SIG_IGN, 0, NULL, 0}, old;
    uint64_t set = 1ull << (SIGUSR1 - 1), all = ~0ull, got;

    puts("-- actions");
    SHOW(syscall(SYS_rt_sigaction, SIGKILL, &action, NULL, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGSTOP, &action, NULL, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGKILL, NULL, &old, 8));
    SHOW(syscall(SYS_rt_sigaction, 0, NULL, &old, 8));
    SHOW(syscall(SYS_rt_sigaction, 65, NULL, &old, 8));
    SHOW(syscall(SYS_rt_sigaction, 64, NULL, &old, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 4));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, BAD, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, &action, &old, 8));
    SHOW(old.handler == SIG_DFL);
    SHOW(raise(SIGUSR1));

    puts("-- masks");
    SHOW(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, 77, NULL, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, BAD, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &got, 8));
    SHOW((got >> (SIGKILL - 1)) & 1);
    SHOW((got >> (SIGSTOP - 1)) & 1);
    got = 0;
    SHOW(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &got, NULL, 8));
    SHOW(syscall(SYS_rt_sigpending, &got, 9));
    SHOW(syscall(SYS_rt_sigpending, BAD, 8));
    SHOW(syscall(SYS_rt_sigsuspend, BAD, 8));
    SHOW(syscall(SYS_rt_sigsuspend, &got, 4));

    puts("-- pending, in order");
    sigset_t some;
    sigfillset(&some);
    signal(SIGUSR1, note);
    signal(SIGUSR2, note);
    signal(SIGTERM, note);
    signal(SIGRTMIN, note);
    signal(SIGRTMIN + 1, note);
    sigprocmask(SIG_SETMASK, &some, NULL);
    raise(SIGTERM);
    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGRTMIN + 1);
    raise(SIGRTMIN);
    raise(SIGRTMIN);
    SHOW(syscall(SYS_rt_sigpending, &got, 8));
    SHOW(got == ((1ull << (SIGTERM - 1)) | (1ull << (SIGUSR1 - 1)) | (1ull << (SIGUSR2 - 1)) |
                 (3ull << (SIGRTMIN - 1))));
    sigemptyset(&some);
    sigprocmask(SIG_SETMASK, &some, NULL);
    told();

    puts("-- nesting, nodefer, resethand");
    struct sigaction wanted = {.sa_handler = nested};
    sigaction(SIGUSR1, &wanted, NULL);
    raise(SIGUSR1);
    told();
    sigaddset(&wanted.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &wanted, NULL);
    raise(SIGUSR1);
    told();
    wanted = (struct sigaction){.sa_handler = note, .sa_flags = SA_RESETHAND};
    sigaction(SIGUSR1, &wanted, NULL);
    raise(SIGUSR1);
    told();
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    SHOW(now.sa_handler == SIG_DFL);

    puts("-- with information");
    wanted = (struct sigaction){.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &wanted, NULL);
    SHOW(raise(SIGUSR1));
    SHOW(kill(getpid(), SIGUSR1));
    SHOW(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42}));

    puts("-- sending");
    SHOW(kill(getpid(), 65));
    SHOW(kill(getpid(), -1));
    SHOW(kill(0x7ffffff0, 0));
    SHOW(syscall(SYS_tkill, 0x7ffffff0, 0));
    SHOW(syscall(SYS_tkill, -1, 0));
    SHOW(syscall(SYS_tgkill, getpid(), -1, 0));
    SHOW(syscall(SYS_tgkill, -1, getpid(), 0));
    SHOW(syscall(SYS_tgkill, getpid(), getpid(), 65));
    SHOW(syscall(SYS_tgkill, getpid(), getpid(), 0));
    SHOW(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, BAD));

    puts("-- waiting for them");
    struct timespec none = {0, 0}, wrong = {0, 2000000000};
    siginfo_t info;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    sigprocmask(SIG_BLOCK, &some, NULL);
    SHOW(sigtimedwait(&some, &info, &none));
    SHOW(sigtimedwait(&some, &info, &wrong));
    SHOW(syscall(SYS_rt_sigtimedwait, &some, &info, &none, 4));
    SHOW(syscall(SYS_rt_sigtimedwait, BAD, &info, &none, 8));
    raise(SIGUSR2);
    SHOW(sigtimedwait(&some, &info, &none));
    SHOW(info.si_signo);
    raise(SIGUSR2);
    SHOW(sigwaitinfo(&some, NULL));
    SHOW(sigtimedwait(&some, &info, &none));
    int fd = signalfd(-1, &some, SFD_NONBLOCK);
    SHOW(fd >= 0);
    SHOW(signalfd(77, &some, 0));
    SHOW(signalfd(1, &some, 0));
    SHOW(syscall(SYS_signalfd4, -1, &some, 4, 0));
    SHOW(syscall(SYS_signalfd4, -1, &some, 8, 1));
    SHOW(syscall(SYS_signalfd4, -1, BAD, 8, 0));
    struct signalfd_siginfo read_info;
    SHOW(read(fd, &read_info, sizeof read_info));
    SHOW(read(fd, &read_info, 10));
    raise(SIGUSR2);
    struct pollfd of = {fd, POLLIN, 0};
    SHOW(poll(&of, 1, 0));
    SHOW(read(fd, &read_info, sizeof read_info));
    SHOW(read_info.ssi_signo);
    SHOW(poll(&of, 1, 0));

    puts("-- alternate stacks");
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}, before;
    SHOW(sigaltstack(NULL, &before));
    SHOW(before.ss_flags);
    SHOW(sigaltstack(&(stack_t){.ss_sp = stack.ss_sp, .ss_size = 100}, NULL));
    SHOW(sigaltstack(&(stack_t){.ss_sp = stack.ss_sp, .ss_size = 65536, .ss_flags = 77}, NULL));
    SHOW(sigaltstack(BAD, NULL));
    SHOW(sigaltstack(NULL, BAD));
    SHOW(sigaltstack(&stack, &before));
    SHOW(sigaltstack(NULL, &before));
    SHOW(before.ss_size);
    SHOW(before.ss_sp == stack.ss_sp);
    SHOW(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, &before));
    SHOW(sigaltstack(NULL, &before));
    SHOW(before.ss_flags);

    puts("-- interrupted");
    sigprocmask(SIG_UNBLOCK, &some, NULL);
    signal(SIGUSR2, note);
    sigset_t empty;
    sigemptyset(&empty);
    sigprocmask(SIG_BLOCK, &some, NULL);
    raise(SIGUSR2);
    SHOW(sigsuspend(&empty));
    told();
    raise(SIGUSR2);
    struct timespec limit = {5, 0};
    SHOW(ppoll(NULL, 0, &limit, &empty));
    told();
    raise(SIGUSR2);
    SHOW(pselect(0, NULL, NULL, NULL, &limit, &empty));
    told();

    puts("-- children that are not");
    SHOW(wait4(-1, NULL, 0, NULL));
    SHOW(waitpid(4444444, NULL, 0));
    SHOW(waitpid(-1, NULL, 0x1000));
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    SHOW(waitid(77, 0, &info, WEXITED));
    SHOW(waitid(P_ALL, 0, &info, 0));
    return 0;
}
