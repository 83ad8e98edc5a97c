/* Locks: of POSIX among processes and ranges, of open files, flock; waiting, circles of waits, signals. */
#include "check.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>

extern char **environ;
static const char *self, *path;
static int fd;

static struct flock range(int type, long start, long length) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static int set(int on, int command, int type, long start, long length) {
    struct flock lock = range(type, start, length);
    return fcntl(on, command, &lock);
}

static void get(int on, int command, int type, long start, long length) {
    struct flock lock = range(type, start, length);
    int result = fcntl(on, command, &lock);
    printf("get %ld+%ld: %d %s type %d start %ld length %ld pid %s\n", start, length, result, result < 0 ? strerrorname_np(errno) : "",
           lock.l_type, (long)lock.l_start, (long)lock.l_len, lock.l_pid == getpid() ? "own" : lock.l_pid > 0 ? "other" : lock.l_pid < 0 ? "none" : "0");
}

/* Runs this program as another process, and waits for it. */
static pid_t start(const char *what, const char *a, const char *b) {
    char *argv[] = {(char *)self, (char *)path, (char *)what, (char *)a, (char *)b, NULL};
    pid_t pid;
    fflush(stdout);
    if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0) return -1;
    return pid;
}

static int ended(pid_t pid) {
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int child(const char *what, const char *a, const char *b) { return ended(start(what, a, b)); }

static int pipe_in = -1;

static int other(int argc, char **argv) {
    const char *what = argv[2];
    int mine = open(path, O_RDWR);
    if (!strcmp(what, "look")) {
        for (long at = 0; at < 100; at += 10) get(mine, F_GETLK, F_WRLCK, at, 1);
        get(mine, F_GETLK, F_RDLCK, 0, 0);
        get(mine, F_GETLK, F_WRLCK, 0, 0);
        get(mine, F_OFD_GETLK, F_WRLCK, 0, 0);
    } else if (!strcmp(what, "try")) {
        SHOW(set(mine, F_SETLK, F_RDLCK, atol(argv[3]), atol(argv[4])));
        SHOW(set(mine, F_SETLK, F_WRLCK, atol(argv[3]), atol(argv[4])));
        SHOW(set(mine, F_OFD_SETLK, F_WRLCK, atol(argv[3]), atol(argv[4])));
    } else if (!strcmp(what, "flock")) {
        SHOW(flock(mine, LOCK_SH | LOCK_NB));
        SHOW(flock(mine, LOCK_EX | LOCK_NB));
    } else if (!strcmp(what, "wait")) {
        SHOW(set(mine, F_SETLKW, F_WRLCK, atol(argv[3]), atol(argv[4])));
        return 7;
    } else if (!strcmp(what, "hold")) {
        /* Locks 0, says so, then waits for what the parent has. */
        SHOW(set(mine, F_SETLKW, F_WRLCK, 0, 1));
        fflush(stdout);
        write(atoi(argv[3]), "x", 1);
        set(mine, F_SETLKW, F_WRLCK, 1, 1);
        return 8;
    } else if (!strcmp(what, "waitflock")) {
        SHOW(flock(mine, LOCK_EX));
        return 9;
    }
    return 0;
}

static void *later(void *what) {
    usleep(50000);
    if (what == NULL) set(fd, F_SETLK, F_UNLCK, 0, 0);
    else if (what == (void *)1) flock(fd, LOCK_UN);
    else pthread_kill(*(pthread_t *)what, SIGUSR1);
    return NULL;
}

static void nothing(int signal) { (void)signal; }

int main(int argc, char **argv) {
    self = argv[0];
    path = argv[1];
    if (argc > 2) return other(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(fd, 1000);

    puts("-- ranges");
    SHOW(set(fd, F_SETLK, F_WRLCK, 10, 20));
    SHOW(set(fd, F_SETLK, F_RDLCK, 15, 5));
    SHOW(set(fd, F_SETLK, F_WRLCK, 50, 10));
    SHOW(set(fd, F_SETLK, F_WRLCK, 60, 10));
    SHOW(set(fd, F_SETLK, F_UNLCK, 62, 3));
    SHOW(set(fd, F_SETLK, F_WRLCK, 90, 0));
    get(fd, F_GETLK, F_WRLCK, 0, 0);
    SHOW(child("look", "", ""));
    SHOW(child("try", "0", "10"));
    SHOW(child("try", "16", "2"));
    SHOW(child("try", "95", "1"));
    SHOW(set(fd, F_SETLK, F_UNLCK, 0, 0));
    SHOW(child("look", "", ""));

    puts("-- whence, wrong arguments");
    lseek(fd, 100, SEEK_SET);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = -10, .l_len = -10};
    SHOW(fcntl(fd, F_SETLK, &lock));
    SHOW(child("look", "", ""));
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -910, .l_len = 5};
    SHOW(fcntl(fd, F_SETLK, &lock));
    SHOW(child("look", "", ""));
    SHOW(set(fd, F_SETLK, F_WRLCK, -1, 5));
    SHOW(set(fd, F_SETLK, F_WRLCK, 5, -6));
    SHOW(set(fd, F_SETLK, F_WRLCK, 0x7fffffffffffffff, 2));
    SHOW(set(fd, F_SETLK, F_WRLCK, 0x7fffffffffffffff, 1));
    SHOW(set(fd, F_SETLK, 3, 0, 0));
    SHOW(set(77, F_SETLK, F_WRLCK, 0, 0));
    lock = range(F_WRLCK, 0, 0);
    lock.l_whence = 3;
    SHOW(fcntl(fd, F_SETLK, &lock));
    lock = range(F_WRLCK, 0, 0);
    lock.l_pid = 1;
    SHOW(fcntl(fd, F_OFD_SETLK, &lock));
    SHOW(fcntl(fd, F_SETLK, (void *)8));
    int only = open(path, O_RDONLY);
    SHOW(set(only, F_SETLK, F_WRLCK, 0, 0));
    SHOW(set(only, F_SETLK, F_RDLCK, 200, 1));
    int writes = open(path, O_WRONLY);
    SHOW(set(writes, F_SETLK, F_RDLCK, 0, 0));
    int mere = open(path, O_PATH);
    SHOW(set(mere, F_SETLK, F_RDLCK, 0, 0));
    SHOW(flock(mere, LOCK_SH));

    puts("-- any close gives all up");
    SHOW(set(fd, F_SETLK, F_WRLCK, 0, 0));
    SHOW(child("try", "0", "1"));
    SHOW(close(only));
    SHOW(child("try", "0", "1"));
    SHOW(set(fd, F_SETLK, F_WRLCK, 0, 0));
    SHOW(dup2(writes, mere) == mere);
    SHOW(child("try", "0", "1"));

    SHOW(set(fd, F_SETLK, F_UNLCK, 0, 0));

    puts("-- open files");
    SHOW(set(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    SHOW(set(writes, F_OFD_SETLK, F_WRLCK, 5, 1));
    SHOW(set(fd, F_SETLK, F_WRLCK, 5, 1));
    get(writes, F_OFD_GETLK, F_WRLCK, 0, 0);
    get(writes, F_GETLK, F_WRLCK, 0, 0);
    SHOW(child("look", "", ""));
    int copy = dup(fd);
    SHOW(close(fd));
    SHOW(set(writes, F_OFD_SETLK, F_WRLCK, 5, 1));
    SHOW(close(copy));
    SHOW(set(writes, F_OFD_SETLK, F_WRLCK, 5, 1));
    SHOW(set(writes, F_OFD_SETLK, F_UNLCK, 0, 0));
    fd = open(path, O_RDWR);

    puts("-- flock");
    int second = open(path, O_RDWR);
    SHOW(flock(fd, LOCK_SH));
    SHOW(flock(second, LOCK_SH | LOCK_NB));
    SHOW(child("flock", "", ""));
    SHOW(flock(second, LOCK_EX | LOCK_NB));
    SHOW(flock(fd, LOCK_EX | LOCK_NB));
    SHOW(flock(fd, LOCK_EX | LOCK_NB));
    SHOW(flock(second, LOCK_SH | LOCK_NB));
    SHOW(child("flock", "", ""));
    copy = dup(fd);
    SHOW(flock(copy, LOCK_UN));
    SHOW(flock(second, LOCK_EX | LOCK_NB));
    SHOW(close(second));
    SHOW(flock(fd, LOCK_EX | LOCK_NB));
    SHOW(flock(fd, 0));
    SHOW(flock(fd, LOCK_SH | LOCK_EX));
    SHOW(set(fd, F_SETLK, F_WRLCK, 0, 0));

    puts("-- waiting");
    pthread_t thread;
    fflush(stdout);
    pid_t waiting = start("wait", "0", "0");
    pthread_create(&thread, NULL, later, NULL);
    SHOW(ended(waiting));
    pthread_join(thread, NULL);
    SHOW(flock(fd, LOCK_EX));
    waiting = start("waitflock", "", "");
    pthread_create(&thread, NULL, later, (void *)1);
    SHOW(ended(waiting));
    pthread_join(thread, NULL);

    puts("-- circles");
    int ends[2];
    pipe(ends);
    char number[16], byte;
    snprintf(number, sizeof number, "%d", ends[1]);
    SHOW(set(fd, F_SETLK, F_WRLCK, 1, 1));
    pid_t holder = start("hold", number, "");
    SHOW(read(ends[0], &byte, 1));
    usleep(50000);
    SHOW(set(fd, F_SETLKW, F_WRLCK, 0, 1));
    SHOW(set(fd, F_SETLK, F_UNLCK, 0, 0));
    SHOW(ended(holder));

    puts("-- signals");
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGUSR1, &action, NULL);
    second = open(path, O_RDWR);
    pthread_t me = pthread_self();
    SHOW(set(second, F_OFD_SETLK, F_WRLCK, 0, 0));
    pthread_create(&thread, NULL, later, &me);
    SHOW(set(fd, F_OFD_SETLKW, F_WRLCK, 0, 0));
    pthread_join(thread, NULL);
    SHOW(flock(second, LOCK_EX));
    pthread_create(&thread, NULL, later, &me);
    SHOW(flock(fd, LOCK_EX));
    pthread_join(thread, NULL);
    return 0;
}
