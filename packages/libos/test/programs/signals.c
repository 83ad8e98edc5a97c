#include "check.h"
#include <setjmp.h>
#include <ucontext.h>

static volatile sig_atomic_t seen, order;
static sigjmp_buf back;
static char *volatile hole;

static void count(int signal) { seen = seen * 10 + (signal == SIGUSR1 ? 1 : 2); }

static void told(int signal, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    printf("signal %d code %d from self %d stack %d\n", signal, info->si_code, info->si_pid == getpid(),
           at->uc_stack.ss_flags & SS_ONSTACK);
    order = sigismember(&at->uc_sigmask, SIGUSR2);
}

static void fault(int signal, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    printf("fault %d at %d, %d\n", signal, info->si_addr == hole, (void *)at->uc_mcontext.gregs[REG_CR2] == hole);
    siglongjmp(back, 1);
}

static void skip(int signal, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    printf("illegal %d %d\n", signal, info->si_addr == (void *)at->uc_mcontext.gregs[REG_RIP]);
    at->uc_mcontext.gregs[REG_RIP] += 2;
    at->uc_mcontext.gregs[REG_RBX] = 55;
}

static void on_stack(int signal) {
    char here;
    printf("handler %d on a stack of its own: %d\n", signal, order = &here > hole && &here < hole + 65536);
}

int main(void) {
    struct sigaction action = {0}, before;
    sigset_t set, old;
    action.sa_handler = count;
    SHOW(sigaction(SIGUSR1, &action, NULL));
    SHOW(sigaction(SIGUSR2, &action, &before));
    SHOW(before.sa_handler == SIG_DFL);
    volatile double kept = 1.5;
    double sum = 0;
    for (int i = 0; i < 10; i++) sum += kept * i + (raise(i & 1 ? SIGUSR1 : SIGUSR2), seen = 0, 1);
    printf("%f\n", sum);
    SHOW(raise(SIGUSR1));
    SHOW(seen);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SHOW(sigprocmask(SIG_BLOCK, &set, &old));
    SHOW(raise(SIGUSR1));
    SHOW(raise(SIGUSR2));
    SHOW(seen);
    SHOW(sigpending(&old));
    SHOW(sigismember(&old, SIGUSR1));
    SHOW(sigprocmask(SIG_UNBLOCK, &set, NULL));
    SHOW(seen);
    action.sa_sigaction = told;
    action.sa_flags = SA_SIGINFO;
    sigaddset(&action.sa_mask, SIGHUP);
    SHOW(sigaction(SIGUSR1, &action, NULL));
    SHOW(raise(SIGUSR1));
    SHOW(order);
    SHOW(sigprocmask(SIG_BLOCK, NULL, &old));
    SHOW(sigismember(&old, SIGUSR1) | sigismember(&old, SIGHUP));
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    SHOW(sigaction(SIGUSR1, &action, NULL));
    SHOW(raise(SIGUSR1));

    hole = (char *)16;
    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    SHOW(sigaction(SIGSEGV, &action, NULL));
    for (int i = 0; i < 3; i++)
        if (sigsetjmp(back, 1) == 0) *hole = 1;
    action.sa_sigaction = skip;
    SHOW(sigaction(SIGILL, &action, NULL));
    long value = 1;
    __asm__ volatile("mov %0, %%rbx\n\tud2\n\tmov %%rbx, %0" : "+r"(value) : : "rbx", "memory");
    SHOW(value);

    hole = malloc(65536);
    stack_t stack = {hole, 0, 65536};
    SHOW(sigaltstack(&stack, NULL));
    action.sa_handler = on_stack;
    action.sa_flags = SA_ONSTACK | SA_RESETHAND;
    SHOW(sigaction(SIGUSR1, &action, NULL));
    SHOW(raise(SIGUSR1));
    int ends[2];
    SHOW(pipe(ends));
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    SHOW(write(ends[1], "x", 1));
    fflush(stdout);
    SHOW(kill(getpid(), SIGCHLD));
    fflush(stdout);
    signal(SIGPIPE, SIG_DFL);
    write(ends[1], "x", 1);
    return 0;
}
