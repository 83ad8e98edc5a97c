/* Random calls on files of a folder, each held against a model in memory: random-files FOLDER SEED COUNT [again|look].
 * `again` makes no calls but the last ones: the files are to be what the same seed left. `look` reads whatever is there. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 4, MOST = 8 << 20, PIECE = 300000 };
static struct {
    char path[512];
    uint8_t *data;
    size_t size;
    int fd;
} file[FILES];
static uint8_t piece[PIECE];
static uint32_t state;
static int act, step;

static uint32_t draw(uint32_t below) {
    state = state * 1103515245 + 12345;
    return (uint32_t)(((uint64_t)(state >> 4) * below) >> 28);
}

static void expect(int good, const char *what, int i) {
    if (good) return;
    printf("step %d, file %d: %s (%s)\n", step, i, what, strerror(errno));
    exit(1);
}

/* Small steps mostly, and places where blocks and pieces begin. */
static size_t place(size_t most) {
    size_t at = draw((uint32_t)most + 1);
    return draw(3) == 0 ? at & ~(size_t)16383 : draw(4) == 0 ? at & ~(size_t)65535 : at;
}

static void compare(int i, size_t at, size_t length) {
    while (length > 0) {
        size_t part = length < PIECE ? length : PIECE;
        expect(pread(file[i].fd, piece, part, (off_t)at) == (ssize_t)part, "read", i);
        expect(memcmp(piece, file[i].data + at, part) == 0, "bytes differ", i);
        at += part;
        length -= part;
    }
}

static void put(int i, size_t at, size_t length) {
    uint32_t seed = draw(1u << 28);
    for (size_t k = 0; k < length; k++) piece[k] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    if (act) expect(pwrite(file[i].fd, piece, length, (off_t)at) == (ssize_t)length, "write", i);
    memcpy(file[i].data + at, piece, length);
    if (at + length > file[i].size) file[i].size = at + length;
}

static void resize(int i, size_t size) {
    if (act) expect(ftruncate(file[i].fd, (off_t)size) == 0, "truncate", i);
    if (size < file[i].size) memset(file[i].data + size, 0, file[i].size - size);
    file[i].size = size;
}

static void hole(int i, size_t at, size_t length) {
    if (at + length > file[i].size) return;
    if (act) expect(fallocate(file[i].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length) == 0, "hole", i);
    memset(file[i].data + at, 0, length);
}

/* The last file never has a name. */
static void renew(int i) {
    if (act) {
        expect(unlink(file[i].path) == 0 && close(file[i].fd) == 0, "unlink", i);
        file[i].fd = open(file[i].path, O_RDWR | O_CREAT, 0600);
        expect(file[i].fd >= 0, "create", i);
    }
    memset(file[i].data, 0, file[i].size);
    file[i].size = 0;
}

/* Every byte of a file can be read, if there is one. */
static void look(int i) {
    ssize_t got;
    file[i].fd = open(file[i].path, O_RDONLY);
    expect(file[i].fd >= 0 || errno == ENOENT, "open", i);
    if (file[i].fd < 0) return;
    while ((got = read(file[i].fd, piece, PIECE)) > 0) continue;
    expect(got == 0, "read", i);
}

/* Small files, by up to two names each. */
enum { NAMES = 400 };
static uint8_t value[NAMES];
static const char *folder;

static const char *name_of(uint32_t k) {
    static char path[2][600];
    static int turn;
    char *to = path[turn ^= 1];
    snprintf(to, sizeof path[0], "%s/small/%0*u", folder, 3 + (int)(k % 90), k);
    return to;
}

/* Of an odd number the file is that of the number before it, if there is one. */
static void toggle(uint32_t k) {
    if (value[k] != 0) {
        if (act) expect(unlink(name_of(k)) == 0, "unlink", (int)k);
        value[k] = 0;
        return;
    }
    uint8_t byte = (uint8_t)(1 + draw(255));
    if (k % 2 == 1 && value[k - 1] != 0) {
        if (act) expect(link(name_of(k - 1), name_of(k)) == 0, "link", (int)k);
        value[k] = value[k - 1];
        return;
    }
    value[k] = byte;
    if (!act) return;
    int fd = open(name_of(k), O_WRONLY | O_CREAT | O_EXCL, 0600);
    expect(fd >= 0 && write(fd, &byte, 1) == 1 && close(fd) == 0, "create", (int)k);
}

/* A name becomes another one. */
static void change(uint32_t from, uint32_t to) {
    if (value[from] == 0 || from / 2 == to / 2) return;
    if (act) expect(rename(name_of(from), name_of(to)) == 0, "rename", (int)from);
    value[to] = value[from];
    value[from] = 0;
}

static void names(void) {
    for (uint32_t k = 0; k < NAMES; k++) {
        uint8_t byte = 0;
        int fd = open(name_of(k), O_RDONLY);
        expect((fd >= 0) == (value[k] != 0), "name", (int)k);
        if (fd < 0) continue;
        expect(read(fd, &byte, 1) == 1 && byte == value[k] && close(fd) == 0, "small file", (int)k);
    }
}

int main(int count, char **argument) {
    if (count < 4) return 2;
    int looks = count > 4 && strcmp(argument[4], "look") == 0;
    state = (uint32_t)atoi(argument[2]);
    act = count == 4;
    for (int i = 0; i < FILES; i++) {
        snprintf(file[i].path, sizeof file[i].path, "%s/file-%d", argument[1], i);
        file[i].data = mmap(NULL, MOST + PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (looks) look(i);
        if (looks || (!act && i == FILES - 1)) continue;
        file[i].fd = open(file[i].path, act ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0600);
        expect(file[i].fd >= 0, "open", i);
    }
    if (looks) return 0;
    if (act) expect(unlink(file[FILES - 1].path) == 0, "unlink", FILES - 1);
    folder = argument[1];
    snprintf((char *)piece, PIECE, "%s/small", folder);
    if (act) expect(mkdir((char *)piece, 0700) == 0, "folder", 0);
    for (step = 0; step < atoi(argument[3]); step++) {
        int i = (int)draw(FILES);
        uint32_t what = draw(100);
        size_t at = place(what < 20 ? file[i].size : MOST - 1), length = draw(8) == 0 ? draw(PIECE) : draw(9000);
        if (what < 50) put(i, what < 20 ? at : place(file[i].size), length);
        else if (what < 52) put(i, at, length);
        else if (what < 56) resize(i, at);
        else if (what < 60) resize(i, place(file[i].size));
        else if (what < 64) hole(i, place(file[i].size), length);
        else if (what < 66 && i != FILES - 1) renew(i);
        else if (what < 74) {
            toggle(draw(NAMES));
            if (draw(3) == 0) change(draw(NAMES), draw(NAMES));
        } else if (what < 76) {
            if (act) expect(fsync(file[i].fd) == 0, "fsync", i);
        } else if (file[i].size > 0) {
            size_t from = place(file[i].size - 1);
            if (act) compare(i, from, length < file[i].size - from ? length : file[i].size - from);
        }
    }
    names();
    for (int i = 0; i < (act ? FILES : FILES - 1); i++) {
        expect(lseek(file[i].fd, 0, SEEK_END) == (off_t)file[i].size, "size", i);
        compare(i, 0, file[i].size);
        printf("%zu bytes\n", file[i].size);
    }
    return 0;
}
