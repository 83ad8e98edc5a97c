/* What programs look up about themselves and their machine. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *text(const char *path) {
    static char data[65536];
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, data, sizeof data - 1);
    if (fd >= 0) close(fd);
    if (got < 0) return strerror(errno);
    data[got] = 0;
    return data;
}

static void has(const char *path, const char *what) { printf("%s: %s %d\n", path, what, strstr(text(path), what) != NULL); }

int main(int argc, char **argv) {
    char to[4096] = {0}, path[64], here[4096];
    struct stat a, b;
    printf("exe %d\n", readlink("/proc/self/exe", to, sizeof to - 1) > 0 && strcmp(to, realpath(argv[0], here)) == 0);
    printf("same %d\n", stat("/proc/self/exe", &a) == 0 && stat(argv[0], &b) == 0 && a.st_ino == b.st_ino);
    snprintf(path, sizeof path, "/proc/%d/comm", getpid());
    has("/proc/self/comm", "proc");
    printf("by number %d\n", strstr(text(path), "proc") != NULL);
    has("/proc/self/status", "\nPid:\t");
    has("/proc/self/maps", "[stack]");
    has("/proc/self/limits", "Max open files");
    has("/proc/self/mounts", " / ");
    has("/proc/mounts", " / ");
    has("/proc/meminfo", "MemTotal:");
    has("/proc/stat", "cpu0 ");
    has("/proc/cpuinfo", "processor\t: 0");
    has("/proc/filesystems", "tmpfs");
    has("/proc/sys/kernel/ostype", "Linux\n");
    has("/proc/nothing", "No such file");
    printf("cpus %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    int on = pthread_getattr_np(pthread_self(), &attributes) == 0 && pthread_attr_getstack(&attributes, &stack, &size) == 0 &&
             (char *)&size > (char *)stack && (char *)&size < (char *)stack + size;
    printf("on its stack %d\n", on);
    int fd = open(argv[1], O_CREAT | O_RDWR | O_TRUNC, 0600), count = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(to, 0, sizeof to);
    printf("link %d\n", readlink(path, to, sizeof to - 1) > 0 && strcmp(to, argv[1]) == 0);
    if (write(fd, "through", 7) != 7) return 1;
    printf("again %s\n", text(path));
    DIR *all = opendir("/proc/self/fd");
    for (struct dirent *e; all != NULL && (e = readdir(all)) != NULL;)
        if (e->d_name[0] != '.' && atoi(e->d_name) == fd) count++;
    printf("descriptors %d\n", count);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    printf("dev %s\n", text(path));
    int full = open("/dev/full", O_RDWR);
    printf("full %zd", write(full, "x", 1));
    printf(" %s, read %zd\n", strerror(errno), read(full, path, 3));
    return 0;
}
