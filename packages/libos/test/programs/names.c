#include "check.h"

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void list(const char *path) {
    struct dirent **names;
    int count = scandir(path, &names, NULL, by_name);
    for (int i = 0; i < count; i++) printf("%s/%d ", names[i]->d_name, names[i]->d_type);
    printf("(%d)\n", count);
}

int main(int argc, char **argv) {
    char buffer[256];
    struct stat status;
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    umask(022);
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("d/e/f", 0777));
    SHOW(mkdir("d/e/", 0700));
    SHOW(stat("d", &status));
    SHOW(status.st_mode);
    SHOW(status.st_nlink);
    SHOW(close(creat("d/file", 0640)));
    SHOW(symlink("file", "d/link"));
    SHOW(symlink("nowhere", "d/dangling"));
    SHOW(symlink("loop", "d/loop"));
    SHOW(symlink("e", "d/dirlink"));
    list("d");
    SHOW(readlink("d/link", buffer, 2));
    SHOW(readlink("d/file", buffer, 2));
    SHOW(lstat("d/link", &status));
    SHOW(S_ISLNK(status.st_mode));
    SHOW(status.st_size);
    SHOW(stat("d/link", &status));
    SHOW(S_ISREG(status.st_mode));
    SHOW(stat("d/loop", &status));
    SHOW(stat("d/dangling", &status));
    SHOW(open("d/link", O_NOFOLLOW | O_RDONLY));
    SHOW(close(open("d/dangling", O_CREAT | O_WRONLY, 0600)));
    SHOW(stat("d/nowhere", &status));
    SHOW(rmdir("d"));
    SHOW(rmdir("d/file"));
    SHOW(unlink("d/e"));
    SHOW(rmdir("d/."));
    SHOW(link("d/file", "d/hard"));
    SHOW(stat("d/hard", &status));
    SHOW(status.st_nlink);
    SHOW(link("d/e", "d/e2"));
    SHOW(rename("d/file", "d/renamed"));
    SHOW(rename("d/missing", "d/x"));
    SHOW(rename("d/e", "d/e/inside"));
    SHOW(rename("d/renamed", "d/e"));
    SHOW(rename("d/e", "d/renamed"));
    SHOW(rename("d/renamed", "d/hard"));
    SHOW(mkdir("d/g", 0755));
    SHOW(rename("d/e", "d/g"));
    SHOW(rename("d/link", "d/dangling"));
    list("d");
    SHOW(access("d/hard", R_OK | W_OK));
    SHOW(access("d/hard", X_OK));
    SHOW(access("d/none", F_OK));
    SHOW(chmod("d/hard", 04755));
    SHOW(access("d/hard", X_OK));
    SHOW(stat("d/hard", &status));
    SHOW(status.st_mode);
    struct timespec times[2] = {{11, 22}, {33, 44}};
    SHOW(utimensat(AT_FDCWD, "d/hard", times, 0));
    SHOW(stat("d/hard", &status));
    SHOW(status.st_atim.tv_sec);
    SHOW(status.st_mtim.tv_nsec);
    int folder = open("d", O_RDONLY | O_DIRECTORY);
    SHOW(faccessat(folder, "hard", F_OK, 0));
    SHOW(mkdirat(folder, "g", 0755));
    SHOW(unlinkat(folder, "g", 0));
    SHOW(unlinkat(folder, "g", AT_REMOVEDIR));
    SHOW(fchdir(folder));
    SHOW(getcwd(buffer, sizeof buffer) != NULL);
    printf("%s\n", strrchr(buffer, '/'));
    SHOW(getcwd(buffer, 1) != NULL);
    SHOW(chdir("hard"));
    SHOW(chdir(".."));
    SHOW(read(folder, buffer, 10));
    SHOW(open("d/hard/", O_RDONLY));
    SHOW(open("d/new/", O_CREAT | O_WRONLY, 0600));
    memset(buffer, 'x', 255);
    buffer[255] = 0;
    SHOW(close(creat(buffer, 0600)));
    char path[300];
    memset(path, 'y', 299);
    path[299] = 0;
    SHOW(creat(path, 0600));
    SHOW(unlink(buffer));
    list(".");
    return 0;
}
