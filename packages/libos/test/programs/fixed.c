/* A program that runs itself, as one that is linked for a fixed address: each has what it writes to for itself. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int initialised[3000] = {1, 2, 3};
static long zeros[5000];
static const char *const constants[] = {"one", "two"};

static int as_at_the_start(void) {
    for (int i = 0; i < 5000; i++) if (zeros[i] != 0) return 0;
    for (int i = 3; i < 3000; i++) if (initialised[i] != 0) return 0;
    return initialised[0] == 1 && initialised[1] == 2 && initialised[2] == 3 && strcmp(constants[1], "two") == 0;
}

static void spoil(int seed) {
    for (int i = 0; i < 5000; i++) zeros[i] = seed * i + 1;
    for (int i = 0; i < 3000; i++) initialised[i] = seed + i;
}

static int spoiled(int seed) {
    for (int i = 0; i < 5000; i++) if (zeros[i] != seed * i + 1) return 0;
    for (int i = 0; i < 3000; i++) if (initialised[i] != seed + i) return 0;
    return 1;
}

/* Answers each byte with whether its own are right, and leaves with a number. */
static int child(int seed) {
    int good = as_at_the_start();
    char byte;
    spoil(seed);
    while (read(0, &byte, 1) == 1) {
        for (volatile int i = 0; i < 3000000; i++) {}
        char answer[40];
        int n = sprintf(answer, "%d:%d:%d ", seed, good, spoiled(seed));
        if (write(1, answer, n) != n) return 1;
    }
    return seed;
}

static pid_t start(const char *self, int seed, int in, int out, int spare[], int count) {
    char number[12];
    sprintf(number, "%d", seed);
    char *const args[] = {(char *)self, "child", number, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    for (int i = 0; i < count; i++) posix_spawn_file_actions_addclose(&actions, spare[i]);
    pid_t pid = -1;
    if (posix_spawn(&pid, self, &actions, NULL, args, environ) != 0) return -1;
    return pid;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 2) return child(atoi(argv[2]));
    if (argc > 1) {
        printf("again %d\n", as_at_the_start());
        return 5;
    }
    spoil(1);
    int to[3][2], from[3][2], spare[12], count = 0, status;
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        if (pipe(to[i]) != 0 || pipe(from[i]) != 0) return 1;
        int ends[4] = {to[i][0], to[i][1], from[i][0], from[i][1]};
        for (int k = 0; k < 4; k++) spare[count++] = ends[k];
    }
    for (int i = 0; i < 3; i++) pids[i] = start(argv[0], i + 2, to[i][0], from[i][1], spare, count);
    for (int i = 0; i < 3; i++) close(to[i][0]), close(from[i][1]);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 3; i++) if (write(to[i][1], "x", 1) != 1) return 1;
        for (volatile int i = 0; i < 3000000; i++) {}
        for (int i = 0; i < 3; i++) {
            char text[40];
            ssize_t n = read(from[i][0], text, sizeof text - 1);
            printf("%.*s", (int)n, text);
        }
        printf("mine %d\n", spoiled(1));
        /* One that comes of this one while those run, and runs the program itself. */
        pid_t pid = fork();
        if (pid == 0) {
            int good = spoiled(1);
            spoil(9);
            printf("fork %d %d\n", good, spoiled(9));
            if (round % 2 == 0) _exit(good + 1);
            execl(argv[0], argv[0], "again", NULL);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        printf("ended %d, mine %d\n", WEXITSTATUS(status), spoiled(1));
    }
    for (int i = 0; i < 3; i++) {
        close(to[i][1]);
        waitpid(pids[i], &status, 0);
        printf("child %d, mine %d\n", WEXITSTATUS(status), spoiled(1));
    }
    execl(argv[0], argv[0], "again", NULL);
    return 1;
}
