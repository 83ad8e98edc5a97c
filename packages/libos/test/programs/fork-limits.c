/* More processes and more memory than there are. */
#include "check.h"
#include <sys/wait.h>

static void processes(void) {
    for (int round = 0; round < 2; round++) {
        int count = 0, ends[2], good = 0;
        pid_t pids[200];
        pipe(ends);
        while (count < 200) {
            pid_t pid = fork();
            if (pid == 0) {
                char c;
                close(ends[1]);
                read(ends[0], &c, 1);
                _exit(count);
            }
            if (pid < 0) break;
            pids[count++] = pid;
        }
        printf("%d, then %s\n", count, strerrorname_np(errno));
        close(ends[0]);
        close(ends[1]);
        for (int i = 0; i < count; i++) {
            int status;
            good += waitpid(pids[i], &status, 0) == pids[i] && WEXITSTATUS(status) == i;
        }
        printf("ended as they should: %d\n", good == count);
    }
}

/* Both want all of what there is for one. */
static void memory(size_t size) {
    char *area = mmap(NULL, size, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), c = 1;
    int there[2], back[2], status, bad = 0;
    pipe(there);
    pipe(back);
    pid_t pid = fork();
    if (pid == 0) {
        memset(area, 2, size);
        write(there[1], &c, 1);
        read(back[0], &c, 1);
        _exit(4);
    }
    close(there[1]);
    memset(area, 3, size);
    ssize_t got = read(there[0], &c, 1);
    write(back[1], &c, 1);
    waitpid(pid, &status, 0);
    for (size_t i = 0; i < size; i++) bad += area[i] != 3;
    printf("the child was killed: %d, mine is right: %d\n", got == 0 || WTERMSIG(status) == SIGKILL, bad == 0);
    pid = fork();
    printf("fork = %d %s\n", pid, strerrorname_np(errno));
    munmap(area, size);
    pid = fork();
    if (pid == 0) _exit(6);
    printf("waited %d", waitpid(pid, &status, 0) == pid);
    printf(" %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    processes();
    memory((size_t)atoi(argv[1]) << 20);
    return argc != 2;
}
