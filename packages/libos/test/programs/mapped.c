/* Files whose parts are mapped one after the other, while they grow: memory, calls and the next run see the same. */
#include "check.h"
#include <sys/wait.h>

enum { PART = 32768, PARTS = 40 };

static unsigned sum(int fd) {
    unsigned total = 0;
    unsigned char bytes[5000];
    for (ssize_t got, at = 0; (got = pread(fd, bytes, sizeof bytes, at)) > 0; at += got)
        for (ssize_t i = 0; i < got; i++) total = total * 31 + bytes[i];
    return total;
}

static void make(int fd) {
    unsigned char *parts[PARTS];
    puts("-- parts of a file that grows");
    for (int i = 0; i < PARTS; i++) {
        SHOW(ftruncate(fd, (off_t)(i + 1) * PART));
        parts[i] = mmap(NULL, PART, 3, MAP_SHARED, fd, (off_t)i * PART);
        if (parts[i] == MAP_FAILED) {
            perror("mmap");
            return;
        }
        memset(parts[i] + 100, i + 1, PART - 200);
        parts[0][i] = (unsigned char)i;
    }
    printf("%08x\n", sum(fd));
    unsigned char byte = 200;
    SHOW(pwrite(fd, &byte, 1, 5 * PART + 7));
    printf("%d %d\n", parts[5][7], parts[5][8]);
    unsigned char *again = mmap(NULL, PART, PROT_READ, MAP_SHARED, fd, 5 * PART);
    parts[5][9] = 17;
    printf("%d\n", again[9]);
    SHOW(munmap(again, PART));
    pid_t pid = fork();
    if (pid == 0) {
        parts[7][1] = 77;
        pread(fd, &byte, 1, 5 * PART + 9);
        _exit(byte);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("%d %d\n", WEXITSTATUS(status), parts[7][1]);
    SHOW(msync(parts[5], PART, MS_SYNC));
    for (int i = 0; i < PARTS; i += 2) SHOW(munmap(parts[i], PART));
    printf("%08x\n", sum(fd));
    parts[39][3] = 3;
    SHOW(ftruncate(fd, 39 * PART + 2));
    SHOW(ftruncate(fd, PARTS * PART));
    printf("%d %d\n", parts[39][3], parts[37][200]);
    /* Left to the end of the process. */
    parts[37][5] = 99;
    parts[1][0] = 98;
}

int main(int count, char **arguments) {
    if (count != 3) return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    char name[200];
    snprintf(name, sizeof name, "%s/mapped", arguments[1]);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0) return 2;
    if (strcmp(arguments[2], "make") == 0) make(fd);
    else {
        unsigned total = 0;
        unsigned char *copy = mmap(NULL, PARTS * PART, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        printf("%d\n", copy == MAP_FAILED ? -1 : copy[PARTS * PART - PART]);
        if (copy != MAP_FAILED) copy[PART] = 1;
        const unsigned char *all = mmap(NULL, PARTS * PART, PROT_READ, MAP_SHARED, fd, 0);
        for (int i = 0; i < PARTS * PART; i++) total = total * 31 + all[i];
        printf("%d %d %08x %08x\n", all[37 * PART + 5], all[PART], total, sum(fd));
    }
    return 0;
}
