/* Files that stay: written by one run, changed by the next, said by the last. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned char data[700000];

static void fill(unsigned seed, size_t length) {
    for (size_t i = 0; i < length; i++) data[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
}

static void put(const char *name, unsigned seed, size_t length) {
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0640);
    fill(seed, length);
    if (fd < 0 || write(fd, data, length) != (ssize_t)length || fsync(fd) != 0) printf("%s: %s\n", name, strerror(errno));
    close(fd);
}

static void tell(const char *name) {
    struct stat status;
    if (lstat(name, &status) != 0) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    printf("%s: %o %ld links %ld mtime %ld", name, status.st_mode, S_ISDIR(status.st_mode) ? 0L : (long)status.st_size,
           (long)status.st_nlink, S_ISREG(status.st_mode) && status.st_mtime == 12345 ? 12345L : 0L);
    if (S_ISLNK(status.st_mode)) {
        char to[100] = {0};
        if (readlink(name, to, 99) > 0) printf(" to %s", to);
    }
    if (S_ISREG(status.st_mode)) {
        int fd = open(name, O_RDONLY);
        unsigned sum = 0;
        ssize_t got = fd < 0 ? -1 : 0;
        while (fd >= 0 && (got = read(fd, data, 10000)) > 0)
            for (ssize_t i = 0; i < got; i++) sum = sum * 31 + data[i];
        if (got < 0) printf(" %s", strerror(errno));
        else printf(" sum %08x", sum);
        if (fd >= 0) close(fd);
    }
    putchar('\n');
}

static void change(const char *name, off_t at, unsigned seed, size_t length) {
    int fd = open(name, O_RDWR);
    fill(seed, length);
    if (pwrite(fd, data, length, at) != (ssize_t)length || fdatasync(fd) != 0) printf("%s: %s\n", name, strerror(errno));
    close(fd);
}

/* Files that say their length and seed, so that each can be checked on its own. */
enum { RACERS = 6, HEAD = 8 };
static volatile int racing = 1, synced = 0;

static void replace(unsigned number, unsigned seed) {
    char name[20];
    unsigned char *own = malloc(HEAD + 20000);
    unsigned head[2] = {seed, 1 + seed * 7919 % 20000};
    memcpy(own, head, HEAD);
    for (unsigned i = 0; i < head[1]; i++) own[HEAD + i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
    int fd = open("making", O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0 || write(fd, own, HEAD + head[1]) != (ssize_t)(HEAD + head[1])) printf("making: %s\n", strerror(errno));
    close(fd);
    free(own);
    sprintf(name, "racer%u", number);
    if (rename("making", name) != 0) printf("%s: %s\n", name, strerror(errno));
}

static int check_racer(unsigned number, unsigned char *room) {
    char name[20];
    unsigned head[2];
    sprintf(name, "racer%u", number);
    int fd = open(name, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, room, HEAD + 20001);
    if (got < HEAD) return printf("%s: %zd %s\n", name, got, strerror(errno));
    close(fd);
    memcpy(head, room, HEAD);
    if (got != HEAD + head[1]) return printf("%s: %zd bytes, not %u\n", name, got, HEAD + head[1]);
    for (unsigned i = 0; i < head[1]; i++)
        if (room[HEAD + i] != (unsigned char)((head[0] = head[0] * 1103515245 + 12345) >> 16)) return printf("%s: byte %u\n", name, i);
    return 0;
}

static void *sync_all(void *unused) {
    int folder = open(".", O_RDONLY);
    for (; racing; synced++)
        if (fsync(folder) != 0) printf("fsync: %s\n", strerror(errno));
    close(folder);
    return unused;
}

static void *read_all(void *unused) {
    unsigned char *room = malloc(HEAD + 20001);
    for (unsigned i = 0; racing; i++) check_racer(i % RACERS, room);
    free(room);
    return unused;
}

static void race(unsigned seed, int reads) {
    pthread_t threads[2];
    if (!reads)
        for (unsigned i = 0; i < RACERS; i++) replace(i, seed * 1000 + i);
    pthread_create(threads, 0, sync_all, 0);
    pthread_create(threads + 1, 0, read_all, 0);
    for (unsigned i = 0; i < 60; i++) {
        replace(RACERS - 1 - i % RACERS, seed * 2000 + i);
        for (int before = synced; i % 5 == 0 && synced < before + 2;) usleep(100);
    }
    racing = 0;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
}

int main(int argc, char **argv) {
    const char *step = argv[2];
    if (argc < 3 || chdir(argv[1]) != 0) return 2;
    if (strcmp(step, "make") == 0) {
        put("small", 1, 100);
        put("large", 2, 700000);
        mkdir("folder", 0750);
        put("folder/block", 3, 16384);
        put("empty", 4, 0);
        printf("%d %d\n", symlink("../small", "folder/link"), link("large", "folder/other"));
        struct timespec times[2] = {{1, 2}, {12345, 678}};
        utimensat(AT_FDCWD, "small", times, 0);
        sync();
    } else if (strcmp(step, "change") == 0) {
        change("large", 30000, 5, 5000);
        change("large", 699000, 6, 40000);
        printf("%d %d\n", truncate("folder/block", 10), truncate("folder/block", 200000));
        printf("%d %d\n", unlink("small"), rename("empty", "folder/renamed"));
        int fd = open("sparse", O_CREAT | O_RDWR, 0600);
        printf("%d %ld\n", ftruncate(fd, 300000), (long)pwrite(fd, "x", 1, 250000));
        close(fd);
        put("folder/new", 7, 50000);
    } else if (strcmp(step, "once") == 0) {
        change("large", 100000, 9, 200000);
    } else if (strcmp(step, "unsynced") == 0) {
        change("large", 0, 8, 100);
        int fd = open("large", O_WRONLY);
        if (write(fd, "lost", 4) != 4) return 3;
        kill(getpid(), 9);
    } else if (strncmp(step, "race", 4) == 0) {
        race(strlen(step), step[4] != 0);
        return 0;
    } else if (strcmp(step, "check") == 0) {
        for (unsigned i = 0; i < RACERS; i++) check_racer(i, data);
        return 0;
    } else if (strcmp(step, "longer") == 0) {
        /* What was there does not come back, neither now nor at the next start. */
        int fd = open("large", O_RDONLY);
        printf("%d\n", pread(fd, data, 1, 38 * 16384) == 1 ? 0 : errno);
        close(fd);
        fd = open("large", O_RDWR | O_TRUNC);
        printf("%d %d\n", ftruncate(fd, 700000), fsync(fd));
        close(fd);
    } else if (strcmp(step, "borders") == 0) {
        int renamed = rename("large", "/tmp/large");
        printf("%d %s\n", renamed, strerror(errno));
        int removed = rmdir(argv[1]);
        printf("%d %s\n", removed, strerror(errno));
        return 0;
    }
    const char *names[] = {"small", "large", "folder", "folder/block", "folder/other", "folder/link", "folder/renamed", "folder/new",
                           "empty", "sparse"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tell(names[i]);
    return 0;
}
