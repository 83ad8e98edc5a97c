/* What signals carry, how they queue, and how they are waited for. */
#include "check.h"
#include <pthread.h>
#include <sys/signalfd.h>
#include <ucontext.h>
#include <setjmp.h>

static sigjmp_buf back;
static int count;
static char *volatile hole = (char *)16;
static void tell(int signal, siginfo_t *info, void *context) {
    printf("%d: signal %d code %d pid %d uid %d value %d\n", ++count, signal, info->si_code, info->si_pid == getpid(),
           info->si_uid == getuid(), info->si_value.sival_int);
}
static void on_timer(int signal, siginfo_t *info, void *context) {
    printf("timer %d code %d value %d\n", signal, info->si_code, info->si_value.sival_int);
    count++;
}
static void fault(int signal, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    printf("fault %d code %d at rip %d\n", signal, info->si_code, info->si_addr == (void *)at->uc_mcontext.gregs[REG_RIP]);
    siglongjmp(back, 1);
}
static stack_t seen;
static void on_stack(int signal, siginfo_t *info, void *context) {
    sigaltstack(NULL, &seen);
    printf("inside: flags %d, change %d\n", (int)seen.ss_flags, sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
    printf("frame flags %x\n", ((ucontext_t *)context)->uc_stack.ss_flags);
}
static void *waiter(void *arg) {
    siginfo_t info;
    int got = sigwaitinfo(arg, &info);
    printf("waited: %d code %d value %d\n", got == SIGRTMIN + 3, info.si_code, info.si_value.sival_int);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
    sigset_t all, old;
    for (int i = 0; i < 3; i++) sigaction(SIGRTMIN + i, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    for (int i = 0; i < 4; i++) sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 50});
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 60});
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 61});
    pthread_sigqueue(pthread_self(), SIGRTMIN + 2, (union sigval){.sival_int = 70});
    kill(getpid(), SIGUSR2);
    raise(SIGRTMIN + 2);
    sigprocmask(SIG_SETMASK, &old, NULL);
    SHOW(count);

    sigprocmask(SIG_BLOCK, &all, &old);
    siginfo_t info;
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 5});
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 6});
    struct timespec zero = {0, 0};
    SHOW(sigtimedwait(&all, &info, &zero) == SIGRTMIN + 1);
    SHOW(info.si_value.sival_int + 100 * (info.si_code == SI_QUEUE));
    SHOW(sigtimedwait(&all, &info, &zero) == SIGRTMIN + 1);
    SHOW(info.si_value.sival_int);
    SHOW(sigtimedwait(&all, &info, &zero));
    pthread_t thread;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 3);
    pthread_create(&thread, NULL, waiter, &one);
    usleep(20000);
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 9});
    pthread_join(thread, NULL);

    int fd = signalfd(-1, &all, SFD_NONBLOCK);
    struct signalfd_siginfo got;
    SHOW(read(fd, &got, sizeof got));
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77});
    SHOW(read(fd, &got, sizeof got));
    printf("%d %d %d %d %d\n", got.ssi_signo, got.ssi_code, got.ssi_pid == getpid(), got.ssi_int, got.ssi_uid == getuid());
    close(fd);
    sigprocmask(SIG_SETMASK, &old, NULL);

    timer_t timer;
    action.sa_sigaction = on_timer;
    sigaction(SIGUSR1, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    SHOW(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec spec = {{0, 5000000}, {0, 5000000}}, left;
    count = 0;
    SHOW(timer_settime(timer, 0, &spec, NULL));
    while (count < 2) __asm__ volatile("" : : : "memory");
    spec = (struct itimerspec){{0, 0}, {100, 0}};
    SHOW(timer_settime(timer, 0, &spec, &left));
    SHOW(left.it_interval.tv_nsec);
    SHOW(timer_gettime(timer, &left));
    SHOW(left.it_value.tv_sec == 99 || left.it_value.tv_sec == 100);
    SHOW(timer_delete(timer));
    SHOW(timer_delete(timer));
    event.sigev_notify = SIGEV_NONE;
    SHOW(timer_create(CLOCK_REALTIME, &event, &timer));
    spec = (struct itimerspec){{0, 0}, {0, 1000}};
    SHOW(timer_settime(timer, 0, &spec, NULL));
    usleep(2000);
    SHOW(timer_gettime(timer, &left));
    SHOW(left.it_value.tv_sec + left.it_value.tv_nsec);
    event.sigev_notify = 9;
    SHOW(timer_create(CLOCK_REALTIME, &event, &timer));
    SHOW(timer_create(77, NULL, &timer));
    sigprocmask(SIG_BLOCK, &all, &old);
    event.sigev_notify = SIGEV_SIGNAL;
    SHOW(timer_create(CLOCK_REALTIME, &event, &timer));
    spec = (struct itimerspec){{0, 1000000}, {0, 1000000}};
    SHOW(timer_settime(timer, 0, &spec, NULL));
    struct timespec nap = {0, 30000000};
    SHOW(nanosleep(&nap, NULL));
    SHOW(sigwaitinfo(&all, &info));
    SHOW(info.si_overrun > 3 && info.si_overrun <= timer_getoverrun(timer));
    SHOW(info.si_code);
    timer_delete(timer);
    sigtimedwait(&all, &info, &zero);
    sigprocmask(SIG_SETMASK, &old, NULL);

    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    int faults[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(faults[i], &action, NULL);
    if (sigsetjmp(back, 1) == 0) __asm__ volatile("xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\tidivl %%ecx" : : "a"(1) : "ecx", "edx");
    if (sigsetjmp(back, 1) == 0) __asm__ volatile("ud2");
    if (sigsetjmp(back, 1) == 0) *(volatile char *)0x1122334455667788 = 1;
    if (sigsetjmp(back, 1) == 0) *(volatile char *)hole = 1;
    if (sigsetjmp(back, 1) == 0) {
        unsigned control = 0x1f80 & ~(1 << 9);
        __asm__ volatile("ldmxcsr %0\n\txorps %%xmm1, %%xmm1\n\tcvtsi2ss %1, %%xmm0\n\tdivss %%xmm1, %%xmm0" : : "m"(control), "r"(1) : "xmm0", "xmm1");
    }
    char *memory = malloc(65536);
    stack_t stack = {memory, 0, 65536};
    SHOW(sigaltstack(&stack, NULL));
    action.sa_sigaction = on_stack;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    stack.ss_flags = 1u << 31;
    SHOW(sigaltstack(&stack, NULL));
    raise(SIGUSR1);
    SHOW(sigaltstack(NULL, &seen));
    printf("after: %x\n", seen.ss_flags);
    stack.ss_size = 100;
    SHOW(sigaltstack(&stack, NULL));
    return 0;
}
