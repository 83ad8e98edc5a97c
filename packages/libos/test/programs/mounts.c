/* What programs do with folders that are not theirs alone: in a folder of the host this is what Linux does. */
#include "check.h"

#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

static void show(const char *name) {
    struct stat s;
    if (lstat(name, &s) < 0) {
        printf("%s: %s\n", name, strerrorname_np(errno));
        return;
    }
    printf("%s: mode %o links %lu uid %u size %ld blocks %d\n", name, s.st_mode, (unsigned long)(S_ISDIR(s.st_mode) ? 0 : s.st_nlink), s.st_uid,
           S_ISDIR(s.st_mode) ? 0L : (long)s.st_size, s.st_size == 0 || s.st_blocks > 0 || S_ISLNK(s.st_mode));
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *name) {
    char *names[4096];
    int count = 0;
    DIR *folder = opendir(name);
    if (folder == NULL) {
        printf("opendir %s: %s\n", name, strerrorname_np(errno));
        return;
    }
    for (struct dirent *entry; count < 4096 && (entry = readdir(folder)) != NULL;) {
        asprintf(&names[count++], "%s %d %d", entry->d_name, entry->d_type, entry->d_ino != 0);
    }
    rewinddir(folder);
    int again = 0;
    while (readdir(folder) != NULL) again++;
    closedir(folder);
    qsort(names, (size_t)count, sizeof *names, compare);
    unsigned sum = 0;
    for (int i = 0; i < count; i++)
        for (char *c = names[i]; *c != 0; c++) sum = sum * 31 + (unsigned char)*c;
    printf("%s has %d, again %d, sum %x, first %s, last %s\n", name, count, again, sum, names[0], names[count - 1]);
}

static void put(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write(fd, text, strlen(text));
    close(fd);
}

static void say(const char *name) {
    char text[256];
    int fd = open(name, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got < 0) printf("%s: %s\n", name, strerrorname_np(errno));
    else printf("%s: \"%.*s\"\n", name, (int)got, text);
    close(fd);
}

int main(int argc, char **argv) {
    char path[4096], big[300];
    struct stat s;
    setvbuf(stdout, NULL, _IOLBF, 0);
    SHOW(chdir(argv[1]));
    umask(027);

    puts("-- many names");
    SHOW(mkdir("many", 0777));
    for (int i = 0; i < 3000; i++) {
        snprintf(path, sizeof path, "many/a name of some length that repeats itself often enough %d", i);
        close(open(path, O_CREAT | O_WRONLY, 0666));
    }
    list("many");
    int removed = 0;
    DIR *folder = opendir("many");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] == 'a') removed += unlinkat(dirfd(folder), entry->d_name, 0) == 0;
    closedir(folder);
    SHOW(removed);
    SHOW(rmdir("many"));
    list("many");
    put("\xff\xfe odd \n name", "odd");
    SHOW(access("\xff\xfe odd \n name", F_OK));
    SHOW(unlink("\xff\xfe odd \n name"));
    memset(big, 'n', 255);
    big[255] = 0;
    put(big, "long");
    say(big);
    SHOW(unlink(big));
    big[255] = 'n';
    big[256] = 0;
    SHOW(open(big, O_CREAT | O_WRONLY, 0600));

    puts("-- links");
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("d/e", 0777));
    put("d/e/f", "contents");
    SHOW(symlink("d/e/f", "relative"));
    SHOW(symlink("../e/../e/f", "d/e/up"));
    SHOW(symlink("d/e", "folder"));
    SHOW(symlink("nothing", "dangling"));
    SHOW(symlink("loop", "loop"));
    say("relative");
    say("d/e/up");
    say("folder/f");
    say("folder/../e/f");
    say("loop");
    say("dangling");
    put("dangling", "made");
    say("nothing");
    SHOW(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
    SHOW(open("relative", O_RDONLY | O_NOFOLLOW));
    SHOW(readlink("relative", path, sizeof path));
    show("relative");
    show("dangling");
    SHOW(chmod("relative", 0640));
    show("d/e/f");
    SHOW(stat("folder/", &s) == 0 && S_ISDIR(s.st_mode));
    SHOW(lstat("relative/", &s));
    SHOW(rmdir("folder"));
    SHOW(link("d/e/f", "hard"));
    put("hard", "by the other name");
    say("d/e/f");
    show("hard");
    SHOW(unlink("hard"));
    show("d/e/f");

    puts("-- where one stands");
    SHOW(chdir("d/e"));
    SHOW(strstr(getcwd(path, sizeof path), "/d/e") != NULL);
    SHOW(rename("../../d", "../../g"));
    SHOW(strstr(getcwd(path, sizeof path), "/g/e") != NULL);
    say("f");
    int here = open(".", O_RDONLY | O_DIRECTORY);
    SHOW(chdir(argv[1]));
    SHOW(fchdir(here));
    say("f");
    SHOW(faccessat(here, "../../g/e/f", R_OK, 0));
    SHOW(mkdirat(here, "sub", 0700));
    SHOW(chdir("sub"));
    SHOW(rmdir("../sub"));
    SHOW(getcwd(path, sizeof path) == NULL ? -1 : 0);
    SHOW(open("new", O_CREAT | O_WRONLY, 0600));
    SHOW(chdir(argv[1]));
    close(here);

    puts("-- contents");
    size_t large = 700001;
    char *data = malloc(large), *back = calloc(1, large);
    for (size_t i = 0; i < large; i++) data[i] = (char)(i * 7 + i / 1000);
    int fd = open("large", O_RDWR | O_CREAT, 0666);
    SHOW(write(fd, data, large));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(pread(fd, back, large, 0));
    SHOW(memcmp(data, back, large));
    SHOW(lseek(fd, -5, SEEK_END));
    SHOW(read(fd, back, 100));
    SHOW(read(fd, back, 100));
    SHOW(pread(fd, back, 10, 1 << 30));
    struct iovec parts[4] = {{back, 3}, {back + 3, 0}, {back + 3, 300000}, {back + 300003, 5}};
    memset(back, 0, large);
    SHOW(preadv(fd, parts, 4, 11));
    SHOW(memcmp(data + 11, back, 300008));
    SHOW(pwritev(fd, parts, 4, 700000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(ftruncate(fd, 100));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(write(fd, "x", 1));
    SHOW(pwrite(fd, "far", 3, 5000));
    SHOW(pread(fd, back, 6000, 0));
    SHOW(back[4999] == 0 && back[5000] == 'f');
    SHOW(posix_fallocate(fd, 0, 20000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    SHOW(read(fd, (void *)8, 10));
    SHOW(write(fd, (void *)8, 10));
    close(fd);

    puts("-- appending");
    put("log", "one\n");
    fd = open("log", O_RDWR | O_APPEND);
    int other = open("log", O_WRONLY | O_APPEND);
    SHOW(write(fd, "two\n", 4));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(write(other, "three\n", 6));
    SHOW(pwrite(fd, "four\n", 5, 0));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(pwrite(fd, "ONE", 3, 0));
    SHOW(fcntl(fd, F_SETFL, O_APPEND));
    SHOW(write(fd, "five\n", 5));
    say("log");
    close(fd);
    close(other);

    puts("-- what is removed stays open");
    fd = open("log", O_RDWR);
    SHOW(unlink("log"));
    SHOW(pread(fd, path, 3, 0));
    SHOW(write(fd, "one", 3));
    SHOW(fchmod(fd, 0600));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_nlink : -1);
    SHOW(ftruncate(fd, 1));
    struct timespec when[2] = {{1234567890, 123456789}, {987654321, 987654321}};
    SHOW(futimens(fd, when));
    SHOW(fstat(fd, &s) == 0 && s.st_atim.tv_nsec == 123456789 && s.st_mtim.tv_sec == 987654321);
    close(fd);
    say("log");

    puts("-- times and modes");
    put("timed", "t");
    SHOW(utimensat(AT_FDCWD, "timed", when, 0));
    SHOW(stat("timed", &s) == 0 && s.st_mtim.tv_nsec == 987654321 && s.st_atim.tv_sec == 1234567890);
    when[0].tv_nsec = UTIME_OMIT;
    when[1].tv_nsec = UTIME_NOW;
    SHOW(utimensat(AT_FDCWD, "timed", when, 0));
    SHOW(stat("timed", &s) == 0 && s.st_mtim.tv_sec > 1700000000 && s.st_atim.tv_sec == 1234567890);
    SHOW(symlink("timed", "timedlink"));
    when[0] = when[1] = (struct timespec){5, 6};
    SHOW(utimensat(AT_FDCWD, "timedlink", when, AT_SYMLINK_NOFOLLOW));
    SHOW(lstat("timedlink", &s) == 0 && s.st_mtim.tv_sec == 5 && s.st_mtim.tv_nsec == 6);
    when[0].tv_sec = -100;
    SHOW(utimensat(AT_FDCWD, "timed", when, 0));
    SHOW(chmod("timed", 0));
    show("timed");
    SHOW(chmod("timed", 01777));
    show("timed");
    SHOW(chown("timed", 0, 0));
    SHOW(chown("timed", -1, -1));

    puts("-- renaming");
    put("from", "from");
    put("to", "to");
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "from", AT_FDCWD, "to", 1));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "from", AT_FDCWD, "to", 2));
    say("from");
    say("to");
    fd = open("from", O_RDONLY);
    SHOW(rename("from", "to"));
    SHOW(pread(fd, path, 10, 0));
    say("to");
    SHOW(rename("from", "to"));
    SHOW(rename("to", "g"));
    SHOW(rename("g", "g/e/in"));
    SHOW(rename("g/e", "timed"));
    SHOW(rename("to", "to/"));
    SHOW(rename("to", "missing/to"));
    SHOW(unlink("g"));
    SHOW(unlink("to/"));
    SHOW(rmdir("to"));
    SHOW(rmdir("g"));
    SHOW(mkdir("g", 0700));
    SHOW(mkdir("to", 0700));
    SHOW(mkdir("missing/to", 0700));
    SHOW(mkdir("to/sub", 0700));
    SHOW(symlink("x", "to"));
    SHOW(symlink("", "empty"));
    SHOW(link("missing", "other"));
    SHOW(link("g", "other"));
    SHOW(open("to/", O_CREAT | O_WRONLY, 0600));
    SHOW(open("g", O_WRONLY));
    SHOW(open("g", O_CREAT | O_RDONLY, 0600));
    SHOW(open("to", O_RDONLY | O_DIRECTORY));
    SHOW(truncate("g", 0));
    SHOW(truncate("to", 1));
    say("to");
    close(fd);

    puts("-- mappings");
    fd = open("large", O_RDWR);
    SHOW(ftruncate(fd, 0));
    SHOW(write(fd, data, large));
    char *map = mmap(NULL, large, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    SHOW(map != MAP_FAILED && memcmp(map, data, large) == 0);
    map[0] = 'Z';
    SHOW(pread(fd, back, 1, 0) == 1 && back[0] == data[0]);
    char *tail = mmap(NULL, 16384, PROT_READ, MAP_SHARED, fd, 692224);
    SHOW(tail != MAP_FAILED && memcmp(tail, data + 692224, large - 692224) == 0 && tail[large - 692224] == 0);
    SHOW(munmap(map, large));
    close(fd);

    puts("-- the rest");
    struct statfs room;
    SHOW(statfs(".", &room) == 0 && room.f_blocks > 0 && room.f_namelen == 255);
    SHOW(access("g/e/f", X_OK));
    SHOW(access("g/e/f", R_OK | W_OK));
    SHOW(mknod("regular", S_IFREG | 0600, 0));
    show("regular");
    SHOW(creat("to/x", 0600));
    list("g");
    list(".");
    return 0;
}
