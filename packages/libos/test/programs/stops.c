/* Processes that are stopped and continued. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static volatile long *shared;
static volatile int children[16], count;

static void nap(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0) {}
}

static void on_child(int signal, siginfo_t *info, void *context) {
    if (count < 16) children[count++] = info->si_code * 1000 + info->si_status;
}

static void told(const char *what) {
    printf("%s:", what);
    for (int i = 0; i < count; i++) printf(" %d", children[i]);
    printf("\n");
    count = 0;
}

static void show(const char *what, pid_t pid, int options) {
    int status = -1;
    pid_t got = waitpid(pid, &status, options);
    printf("%s: %s", what, got == pid ? "it" : got == 0 ? "none" : strerror(errno));
    if (got == pid) {
        if (WIFSTOPPED(status)) printf(" stopped %d", WSTOPSIG(status));
        if (WIFCONTINUED(status)) printf(" continued");
        if (WIFEXITED(status)) printf(" ended %d", WEXITSTATUS(status));
        if (WIFSIGNALED(status)) printf(" killed %d", WTERMSIG(status));
    }
    printf("\n");
}

/* Whether somebody counts; who is expected to may take his time. */
static int moves(int slot, int expected) {
    long before = shared[slot];
    for (int tries = 0; tries < (expected ? 500 : 1); tries++) {
        nap(60);
        if (shared[slot] != before) return 1;
    }
    return 0;
}

static void *turn(void *unused) {
    for (;;) {
        shared[1]++;
        if (shared[1] % 1000 == 0) nap(1);
    }
    return NULL;
}

static pid_t spin(void) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    for (;;) {
        ++*shared;
        if (*shared % 1000 == 0) nap(1);
    }
}

static volatile int seen;
static void on_stop(int signal) { seen = signal; }

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) {
        nap(40);
        return 7;
    }
    /* In a group that is not orphaned, whoever runs this: others are not stopped by SIGTSTP. */
    pid_t worker = fork();
    if (worker != 0) {
        int status = 0;
        waitpid(worker, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    setpgid(0, 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);

    pid_t pid = spin();
    printf("moves %d\n", moves(0, 1));
    show("nothing yet", pid, WUNTRACED | WCONTINUED | WNOHANG);
    kill(pid, SIGSTOP);
    show("after SIGSTOP", pid, WUNTRACED);
    show("told once", pid, WUNTRACED | WNOHANG);
    nap(50);
    printf("moves %d\n", moves(0, 0));
    kill(pid, SIGSTOP);
    show("again", pid, WUNTRACED | WNOHANG);
    kill(pid, SIGCONT);
    show("after SIGCONT", pid, WCONTINUED);
    printf("moves %d\n", moves(0, 1));
    kill(pid, SIGCONT);
    show("not stopped", pid, WCONTINUED | WNOHANG);
    told("children");
    kill(pid, SIGSTOP);
    siginfo_t info = {0};
    int got = waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT);
    printf("waitid %d code %d status %d mine %d\n", got, info.si_code, info.si_status, info.si_pid == pid);
    memset(&info, 0, sizeof info);
    got = waitid(P_PID, pid, &info, WSTOPPED);
    printf("waitid %d code %d status %d\n", got, info.si_code, info.si_status);
    memset(&info, 0, sizeof info);
    got = waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOHANG);
    printf("waitid %d code %d pid %d\n", got, info.si_code, info.si_pid);
    kill(pid, SIGTERM);
    nap(20);
    show("stopped, with SIGTERM", pid, WNOHANG);
    kill(pid, SIGCONT);
    show("ended", pid, 0);
    nap(5);
    count = 0;

    pid = spin();
    kill(pid, SIGTSTP);
    show("after SIGTSTP", pid, WUNTRACED);
    kill(pid, SIGKILL);
    show("killed while stopped", pid, WUNTRACED);
    count = 0;

    /* One that waits for something. */
    int to[2], from[2];
    char byte = 0;
    pipe(to), pipe(from);
    pid = fork();
    if (pid == 0) {
        while (read(to[0], &byte, 1) == 1 && byte != 'q')
            if (byte == 'n') {
                struct timespec t = {0, 50000000};
                write(from[1], "s", 1);
                byte = nanosleep(&t, NULL) == 0 ? 'n' : 'e';
                write(from[1], &byte, 1);
            } else {
                write(from[1], &byte, 1);
            }
        _exit(3);
    }
    nap(10);
    kill(pid, SIGSTOP);
    show("while it reads", pid, WUNTRACED);
    write(to[1], "a", 1);
    nap(30);
    *shared = 0;
    kill(pid, SIGCONT);
    read(from[0], &byte, 1);
    printf("answered %c\n", byte);
    write(to[1], "n", 1);
    read(from[0], &byte, 1);
    kill(pid, SIGSTOP);
    kill(pid, SIGCONT);
    read(from[0], &byte, 1);
    printf("slept %c\n", byte);
    write(to[1], "q", 1);
    show("it", pid, 0);

    /* Handlers, masks, ignored signals. */
    pid = fork();
    if (pid == 0) {
        sigset_t set;
        signal(SIGTSTP, on_stop);
        raise(SIGTSTP);
        printf("handler %d\n", seen);
        signal(SIGTSTP, SIG_IGN);
        raise(SIGTSTP);
        printf("ignored\n");
        signal(SIGTSTP, SIG_DFL);
        sigemptyset(&set);
        sigaddset(&set, SIGTSTP);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGTSTP);
        printf("blocked\n");
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        printf("behind\n");
        raise(SIGSTOP);
        printf("behind SIGSTOP\n");
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGTSTP);
        raise(SIGCONT);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        printf("SIGCONT takes it away\n");
        signal(SIGCONT, on_stop);
        raise(SIGSTOP);
        printf("SIGCONT's handler %d\n", seen);
        setsid();
        raise(SIGTSTP);
        raise(SIGTTIN);
        printf("nobody would continue it\n");
        _exit(4);
    }
    for (int i = 0; i < 3; i++) {
        show("child", pid, WUNTRACED);
        kill(pid, SIGCONT);
    }
    show("child", pid, WUNTRACED);

    /* Another program, a process with threads, a whole group. */
    char *const args[] = {argv[0], "sleep", NULL};
    posix_spawn(&pid, argv[0], NULL, NULL, args, environ);
    kill(pid, SIGSTOP);
    show("program", pid, WUNTRACED);
    kill(pid, SIGCONT);
    show("program", pid, 0);
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        pthread_t thread;
        pthread_create(&thread, NULL, turn, NULL);
        if (fork() == 0)
            for (;;) ++*shared, nap(1);
        pthread_join(thread, NULL);
    }
    nap(40);
    kill(-pid, SIGSTOP);
    show("group", pid, WUNTRACED);
    nap(100);
    printf("move %d", moves(0, 0));
    printf(" %d\n", moves(1, 0));
    kill(-pid, SIGCONT);
    printf("move %d", moves(0, 1));
    printf(" %d\n", moves(1, 1));
    kill(-pid, SIGKILL);
    show("group", pid, 0);

    /* Who does not want to know. */
    action.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, NULL);
    nap(5);
    count = 0;
    pid = spin();
    kill(pid, SIGSTOP);
    show("quiet", pid, WUNTRACED);
    kill(pid, SIGCONT);
    nap(5);
    told("children");
    kill(pid, SIGKILL);
    show("quiet", pid, 0);
    return 0;
}
