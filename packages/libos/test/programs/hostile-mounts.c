/* What a program sees of a host that says impossible things of its files. */
#include "check.h"

static void list(const char *name) {
    DIR *folder = opendir(name);
    int count = 0;
    errno = 0;
    while (folder != NULL && readdir(folder) != NULL) count++;
    printf("list %s: %d %s\n", name, count, errno == 0 ? "" : strerrorname_np(errno));
}

int main(int argc, char **argv) {
    const char *names[] = {"size", "type", "notype", "short", "nothing", "error", "target", "empty", "nul", "long", "positive", "huge", "file"};
    const char *folders[] = {"slash", "dots", "zero", "order", "same", "cut", "much", "good"};
    struct stat s;
    char text[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, "/work/%s", names[i]);
        int result = lstat(text, &s);
        printf("%s: %d %s\n", names[i], result, result < 0 ? strerrorname_np(errno) : "");
    }
    for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(text, sizeof text, "/work/%s", folders[i]);
        list(text);
    }
    SHOW(open("/work/file", O_RDONLY));
    SHOW(open("/work/file", O_RDWR));
    SHOW(open("/work/file", O_WRONLY));
    int fd = open("/work/file", O_RDONLY | O_APPEND);
    SHOW(fd >= 0);
    SHOW(read(fd, text, 16));
    SHOW(pread(fd, text, 16, 16));
    SHOW(pread(fd, text, 16, 32));
    SHOW(fstat(fd, &s));
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    SHOW(mkdir("/work/made", 0700));
    SHOW(unlink("/work/file"));
    SHOW(rename("/work/file", "/work/other"));
    SHOW(execl("/work/file", "file", NULL));
    return 0;
}
