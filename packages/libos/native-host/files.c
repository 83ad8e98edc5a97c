/* System calls that Node has no functions for, each as it is: names relative to a folder's descriptor, never through a link.
 * What may be asked is decided in src/run/mounts. Results are −errno or what Linux returns. */
#include "host.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static int64_t result(int64_t value) { return value < 0 ? -errno : value; }

static uint64_t nanoseconds(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }

/* The last name of a path may be a link, and is then not followed. */
EXPORT int64_t nsgx_lf_open(int32_t folder, const char *name, int32_t flags, uint32_t mode) {
    return result(openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode));
}

/* What an O_PATH descriptor stands for, to be read or written. */
EXPORT int64_t nsgx_lf_reopen(int32_t fd, int32_t flags) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return result(open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
}

/* Of a name, or with an empty one of the descriptor itself: device, number, mode, links, owner, group, size, blocks, times. */
EXPORT int64_t nsgx_lf_stat(int32_t folder, const char *name, uint64_t out[11]) {
    struct stat s;
    if (fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0) return -errno;
    const uint64_t values[11] = {
        s.st_dev,           s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, (uint64_t)s.st_size, (uint64_t)s.st_blocks,
        nanoseconds(s.st_atim), nanoseconds(s.st_mtim), nanoseconds(s.st_ctim)};
    for (int i = 0; i < 11; i++) out[i] = values[i];
    return 0;
}

/* struct linux_dirent64 of what comes next in a folder. */
EXPORT int64_t nsgx_lf_list(int32_t fd, void *to, uint32_t room) { return result(syscall(SYS_getdents64, fd, to, room)); }

EXPORT int64_t nsgx_lf_mkdir(int32_t folder, const char *name, uint32_t mode) { return result(mkdirat(folder, name, mode)); }

EXPORT int64_t nsgx_lf_unlink(int32_t folder, const char *name, int32_t is_folder) {
    return result(unlinkat(folder, name, is_folder ? AT_REMOVEDIR : 0));
}

EXPORT int64_t nsgx_lf_rename(int32_t folder, const char *name, int32_t to, const char *new_name, uint32_t flags) {
    return result(syscall(SYS_renameat2, folder, name, to, new_name, flags));
}

EXPORT int64_t nsgx_lf_link(int32_t folder, const char *name, int32_t to, const char *new_name) {
    return result(linkat(folder, name, to, new_name, 0));
}

EXPORT int64_t nsgx_lf_symlink(const char *target, int32_t folder, const char *name) {
    return result(symlinkat(target, folder, name));
}

EXPORT int64_t nsgx_lf_readlink(int32_t folder, const char *name, void *to, uint32_t room) {
    return result(readlinkat(folder, name, to, room));
}

/* Of a descriptor, also one of O_PATH; of a link there is no mode to change. */
EXPORT int64_t nsgx_lf_chmod(int32_t fd, uint32_t mode) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return result(chmod(path, mode));
}

EXPORT int64_t nsgx_lf_chown(int32_t folder, const char *name, uint32_t uid, uint32_t gid) {
    return result(fchownat(folder, name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
}

/* Seconds and nanoseconds of both times, as utimensat has them. Without a name of the descriptor, which must be open. */
EXPORT int64_t nsgx_lf_times(int32_t folder, const char *name, const int64_t times[4]) {
    const struct timespec list[2] = {{times[0], times[1]}, {times[2], times[3]}};
    return result(*name == 0 ? futimens(folder, list) : utimensat(folder, name, list, AT_SYMLINK_NOFOLLOW));
}

EXPORT int64_t nsgx_lf_truncate(int32_t fd, int64_t size) { return result(ftruncate(fd, size)); }

EXPORT int64_t nsgx_lf_allocate(int32_t fd, int32_t mode, int64_t offset, int64_t length) {
    return result(fallocate(fd, mode, offset, length));
}

EXPORT int64_t nsgx_lf_sync(int32_t fd) { return result(fsync(fd)); }

EXPORT int64_t nsgx_lf_append(int32_t fd, int32_t on) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : result(fcntl(fd, F_SETFL, on ? flags | O_APPEND : flags & ~O_APPEND));
}

/* Kind, block size, blocks, free, available, files, free ones, longest name. */
EXPORT int64_t nsgx_lf_space(int32_t fd, uint64_t out[8]) {
    struct statfs s;
    if (fstatfs(fd, &s) < 0) return -errno;
    const uint64_t values[8] = {(uint64_t)s.f_type,  (uint64_t)s.f_bsize, s.f_blocks, s.f_bfree,
                                s.f_bavail, s.f_files,           s.f_ffree,  (uint64_t)s.f_namelen};
    for (int i = 0; i < 8; i++) out[i] = values[i];
    return 0;
}

/* A copy of a descriptor of the program's, which stays the program's. */
EXPORT int64_t nsgx_lf_borrow(uint64_t host, uint32_t index) {
    struct host *h = (struct host *)host;
    uint32_t kind;
    int fd = host_hold(h, index, &kind);
    if (fd < 0) return fd;
    int64_t copy = kind == KIND_FILE ? result(fcntl(fd, F_DUPFD_CLOEXEC, 3)) : -EBADF;
    host_release(h, index);
    return copy;
}
