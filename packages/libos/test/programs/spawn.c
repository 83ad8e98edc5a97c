#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int child(int argc, char **argv) {
    printf("child %d arguments: %s %s, %s\n", argc, argv[1], argv[2], getenv("PROBE"));
    printf("parent is another: %d\n", getppid() != getpid());
    printf("marked descriptor: %d\n", fcntl(9, F_GETFD));
    fflush(stdout);
    return atoi(argv[2]);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "child") == 0) return child(argc, argv);
    setenv("PROBE", "value", 1);
    dup2(1, 9);
    fcntl(9, F_SETFD, FD_CLOEXEC);
    int fds[2], status;
    char text[4096] = {0};
    for (int i = 3; i < 6; i++) {
        char number[8];
        snprintf(number, sizeof number, "%d", i);
        char *args[] = {argv[0], "child", number, NULL};
        if (pipe(fds) != 0) return 1;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        posix_spawn_file_actions_addclose(&actions, fds[0]);
        posix_spawn_file_actions_addclose(&actions, fds[1]);
        pid_t pid;
        int error = posix_spawn(&pid, argv[0], &actions, NULL, args, environ);
        close(fds[1]);
        printf("spawned %d\n", error);
        for (ssize_t n; (n = read(fds[0], text, sizeof text - 1)) > 0;) printf("%.*s", (int)n, text);
        close(fds[0]);
        printf("waited %d", waitpid(pid, &status, 0) == pid);
        printf(" status %d\n", WEXITSTATUS(status));
    }
    pid_t pid;
    char *nothing[] = {"nothing", NULL};
    printf("missing: %d\n", posix_spawn(&pid, "/does/not/exist", NULL, NULL, nothing, environ));
    fflush(stdout);
    char *last[] = {argv[0], "child", "42", NULL};
    execv(argv[0], last);
    printf("not reached %d\n", errno);
    return 1;
}
