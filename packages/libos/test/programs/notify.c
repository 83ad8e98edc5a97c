/* inotify, files without names, extended attributes, holes and times of making. */
#include "check.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

static int in;
static const char *bits[] = {"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM", "MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF"};

static void events(const char *what) {
    char buffer[65536] __attribute__((aligned(8)));
    unsigned first = 0;
    printf("-- %s\n", what);
    for (;;) {
        ssize_t got = read(in, buffer, sizeof buffer);
        if (got < 0) {
            if (errno != EAGAIN) printf("read: %s\n", strerrorname_np(errno));
            return;
        }
        for (char *at = buffer; at < buffer + got;) {
            struct inotify_event *e = (struct inotify_event *)at;
            printf("%d", e->wd);
            for (int i = 0; i < 12; i++)
                if (e->mask & (1u << i)) printf(" %s", bits[i]);
            if (e->mask & IN_ISDIR) printf(" ISDIR");
            if (e->mask & IN_IGNORED) printf(" IGNORED");
            if (e->mask & IN_Q_OVERFLOW) printf(" OVERFLOW");
            if (e->cookie && first == 0) first = e->cookie;
            printf(" cookie %d length %u name %s\n", e->cookie ? (int)(e->cookie - first) : -1, e->len, e->len ? e->name : "");
            at += sizeof *e + e->len;
        }
    }
}

static void put(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write(fd, text, strlen(text));
    close(fd);
}

static void attributes(const char *path) {
    char list[1024], value[70000];
    ssize_t length = listxattr(path, list, sizeof list);
    /* In any order. */
    SHOW(length);
    SHOW(memmem(list, (size_t)length, "user.one", 9) != NULL);
    SHOW(memmem(list, (size_t)length, "user.two", 9) != NULL);
    SHOW(getxattr(path, "user.one", value, sizeof value));
    SHOW(getxattr(path, "user.one", NULL, 0));
    SHOW(getxattr(path, "user.one", value, 1));
    SHOW(getxattr(path, "user.missing", value, 10));
    SHOW(getxattr(path, "other.one", value, 10));
}

int main(int argc, char **argv) {
    char path[4096], buffer[8192];
    struct stat s;
    setvbuf(stdout, NULL, _IOLBF, 0);
    SHOW(chdir(argv[1]));
    SHOW(mkdir("watched", 0755));
    SHOW(chdir("watched"));
    SHOW(mkdir("other", 0755));
    put("file", "text");
    in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    SHOW(in >= 0);
    SHOW(inotify_init1(1));
    SHOW(inotify_add_watch(in, "missing", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(in, ".", 0));
    SHOW(inotify_add_watch(77, ".", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(0, ".", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(in, "file", IN_ALL_EVENTS | IN_ONLYDIR));
    SHOW(inotify_add_watch(in, ".", IN_ALL_EVENTS | IN_EXCL_UNLINK));
    SHOW(inotify_add_watch(in, ".", IN_ALL_EVENTS | IN_MASK_CREATE));
    SHOW(inotify_add_watch(in, "file", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(in, "other", IN_CREATE | IN_DELETE | IN_MOVE));
    SHOW(inotify_rm_watch(in, 99));
    SHOW(read(in, buffer, 100));

    put("new", "contents");
    events("made and written");
    put("file", "longer text");
    events("written anew");
    int fd = open("file", O_RDWR);
    SHOW(read(fd, buffer, 5));
    SHOW(read(fd, buffer, 5));
    SHOW(read(fd, buffer, 5));
    SHOW(pwrite(fd, "x", 1, 0));
    SHOW(ftruncate(fd, 2));
    SHOW(fchmod(fd, 0600));
    SHOW(futimens(fd, NULL));
    SHOW(ioctl(in, FIONREAD, buffer) == 0 ? *(int *)buffer : -1);
    close(fd);
    events("read and changed");
    SHOW(link("file", "hard"));
    SHOW(chmod("file", 0644));
    SHOW(unlink("hard"));
    events("another name");
    SHOW(symlink("file", "link"));
    SHOW(mkdir("folder", 0755));
    SHOW(chmod("folder", 0700));
    SHOW(rmdir("folder"));
    SHOW(unlink("link"));
    events("folders and links");
    SHOW(rename("new", "newer"));
    SHOW(rename("newer", "other/newest"));
    SHOW(rename("other/newest", "back"));
    put("target", "t");
    events("before it is replaced");
    SHOW(rename("back", "target"));
    SHOW(rename("other", "others"));
    SHOW(renameat2(AT_FDCWD, "others", AT_FDCWD, "target", 2));
    events("renamed");
    SHOW(renameat2(AT_FDCWD, "others", AT_FDCWD, "target", 2));
    SHOW(rename("others", "other"));
    fd = open("other", O_RDONLY | O_DIRECTORY);
    close(fd);
    fd = open("file", O_RDONLY);
    SHOW(unlink("file"));
    events("removed while it is open");
    SHOW(read(fd, buffer, 10));
    close(fd);
    events("closed");
    SHOW(rmdir("other"));
    events("a watched folder is removed");
    SHOW(inotify_add_watch(in, "target", IN_OPEN | IN_ONESHOT));
    fd = open("target", O_RDONLY);
    close(fd);
    events("once");
    SHOW(inotify_add_watch(in, ".", IN_MODIFY));
    put("target", "u");
    events("another mask");
    SHOW(inotify_add_watch(in, ".", IN_DELETE | IN_MASK_ADD));
    unlink("target");
    events("one more");
    SHOW(inotify_rm_watch(in, 1));
    events("no more");
    SHOW(inotify_add_watch(in, ".", IN_CREATE) > 4);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "a name of %d", i);
        put(path, "");
    }
    SHOW(read(in, buffer, 16));
    SHOW(read(in, buffer, 32));
    struct pollfd polled = {in, POLLIN, 0};
    SHOW(poll(&polled, 1, 0));
    events("the rest");
    SHOW(poll(&polled, 1, 0));
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "%d", i % 2);
        close(open(path, O_CREAT | O_EXCL | O_WRONLY, 0600));
        unlink(path);
    }
    int count = 0, overflow = 0;
    for (ssize_t got; (got = read(in, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + got; count++) {
            struct inotify_event *e = (struct inotify_event *)at;
            if (e->mask & IN_Q_OVERFLOW) overflow++;
            at += sizeof *e + e->len;
        }
    printf("events %d overflow %d\n", count, overflow);
    SHOW(close(in));

    puts("-- without a name");
    fd = open(".", O_TMPFILE | O_RDWR, 0640);
    SHOW(fd >= 0);
    SHOW(write(fd, "nameless", 8));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_nlink : -1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_nlink : -1);
    SHOW(linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
    SHOW(stat("named", &s) == 0 ? (long)s.st_size : -1);
    close(fd);
    fd = open(".", O_TMPFILE | O_WRONLY | O_EXCL, 0600);
    SHOW(linkat(fd, "", AT_FDCWD, "never", AT_EMPTY_PATH));
    close(fd);
    fd = open("named", O_RDONLY);
    unlink("named");
    unlink("again");
    SHOW(linkat(fd, "", AT_FDCWD, "never", AT_EMPTY_PATH));
    close(fd);
    SHOW(open(".", O_TMPFILE | O_RDONLY, 0600));
    SHOW(open("missing", O_TMPFILE | O_RDWR, 0600));
    put("plain", "p");
    SHOW(open("plain", O_TMPFILE | O_RDWR, 0600));
    FILE *temporary = tmpfile();
    SHOW(temporary != NULL);

    puts("-- attributes");
    char big[65537];
    memset(big, 'b', sizeof big);
    SHOW(setxattr("plain", "user.one", "value", 5, 0));
    SHOW(setxattr("plain", "user.two", "", 0, XATTR_CREATE));
    SHOW(setxattr("plain", "user.two", "x", 1, XATTR_CREATE));
    SHOW(setxattr("plain", "user.three", "x", 1, XATTR_REPLACE));
    SHOW(setxattr("plain", "user.one", "other", 5, XATTR_REPLACE));
    SHOW(setxattr("plain", "user.", "x", 1, 0));
    SHOW(setxattr("plain", "", "x", 1, 0));
    SHOW(setxattr("plain", "nothing", "x", 1, 0));
    SHOW(setxattr("plain", "user.big", big, 65537, 0));
    SHOW(setxattr("plain", "user.x", "x", 1, 4));
    SHOW(setxattr("missing", "user.x", "x", 1, 0));
    memset(path, 'n', 300);
    memcpy(path, "user.", 5);
    path[300] = 0;
    SHOW(setxattr("plain", path, "x", 1, 0));
    attributes("plain");
    SHOW(symlink("plain", "link"));
    SHOW(lsetxattr("link", "user.x", "x", 1, 0));
    SHOW(lgetxattr("link", "user.one", path, 10));
    SHOW(getxattr("link", "user.one", path, 10));
    fd = open("plain", O_RDWR);
    SHOW(fsetxattr(fd, "user.three", "3", 1, 0));
    SHOW(fgetxattr(fd, "user.three", path, 10));
    SHOW(fremovexattr(fd, "user.three"));
    SHOW(fremovexattr(fd, "user.three"));
    SHOW(removexattr("plain", "user.one"));
    SHOW(flistxattr(fd, NULL, 0) > 0);
    SHOW(fgetxattr(77, "user.one", path, 10));

    puts("-- holes and making");
    SHOW(ftruncate(fd, 0));
    memset(buffer, 'd', sizeof buffer);
    SHOW(write(fd, buffer, 8192));
    SHOW(fallocate(fd, 3, 100, 5000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(pread(fd, buffer, 8192, 0));
    int zeros = 0;
    for (int i = 0; i < 8192; i++) zeros += buffer[i] == 0;
    SHOW(zeros);
    SHOW(fallocate(fd, 3, 8000, 50000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(fallocate(fd, 2, 0, 10));
    SHOW(fallocate(fd, 1, 0, 50000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(fallocate(fd, 0, 0, 50000));
    SHOW(fstat(fd, &s) == 0 ? (long)s.st_size : -1);
    SHOW(fallocate(fd, 0, -1, 10));
    SHOW(fallocate(fd, 0, 0, 0));
    struct statx x;
    SHOW(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &x));
    SHOW((x.stx_mask & STATX_BTIME) != 0 && x.stx_btime.tv_sec > 1700000000);
    SHOW(x.stx_btime.tv_sec < x.stx_ctime.tv_sec || x.stx_btime.tv_nsec <= x.stx_ctime.tv_nsec);
    return 0;
}
