#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int got;
static void child_ended(int signal, siginfo_t *info, void *context) {
    (void)context;
    got = signal * 1000 + info->si_code * 100 + info->si_status;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = child_ended, .sa_flags = SA_SIGINFO | SA_RESTART};
    int status, fds[2];
    sigaction(SIGCHLD, &action, NULL);
    if (pipe(fds) != 0) return 1;
    pid_t pid = vfork();
    if (pid == 0) {
        write(fds[1], "child", 5);
        close(fds[1]);
        _exit(7);
    }
    char text[8] = {0};
    printf("read %zd %s\n", read(fds[0], text, 8), text);
    printf("waited %d", waitpid(pid, &status, 0) == pid);
    printf(" exited %d %d, signal %d\n", WIFEXITED(status), WEXITSTATUS(status), got);
    printf("write still open: %zd\n", write(fds[1], "x", 1));
    pid = vfork();
    if (pid == 0) {
        raise(SIGTERM);
        _exit(1);
    }
    siginfo_t info;
    printf("waitid %d", waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    printf(" code %d status %d\n", info.si_code, info.si_status);
    printf("wait %d", wait(&status) == pid);
    printf(" signaled %d %d, signal %d\n", WIFSIGNALED(status), WTERMSIG(status), got);
    printf("none left: %d", wait(&status));
    printf(" %d\n", errno);
    pid = vfork();
    if (pid == 0) {
        pid_t inner = vfork();
        if (inner == 0) _exit(3);
        waitpid(inner, &status, 0);
        _exit(WEXITSTATUS(status) + 1);
    }
    waitpid(pid, &status, 0);
    printf("inner %d\n", WEXITSTATUS(status));
    return 0;
}
