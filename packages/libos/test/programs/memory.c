#include "check.h"

static int zero(const unsigned char *at, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (at[i] != 0) return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    unsigned char *a = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(a != MAP_FAILED);
    SHOW(((uintptr_t)a & 4095));
    SHOW(zero(a, 1 << 20));
    memset(a, 0xaa, 1 << 20);
    SHOW(madvise(a, 4096, MADV_DONTNEED));
    SHOW(a[0] + a[4096]);
    SHOW(munmap(a + 8192, 4096));
    unsigned char *b = mmap(a + 8192, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    SHOW(b == a + 8192);
    SHOW(zero(b, 4096));
    SHOW(mmap(a, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ? errno : 0);
    unsigned char *bigger = mremap(a + 12288, (1 << 20) - 12288, 4 << 20, MREMAP_MAYMOVE);
    SHOW(bigger != MAP_FAILED);
    SHOW(bigger[0] + bigger[(1 << 20) - 12289]);
    SHOW(zero(bigger + (1 << 20) - 12288, 3 << 20));
    SHOW(mremap(bigger, 4 << 20, 4096, 0) == bigger);
    SHOW(munmap(bigger, 4096));
    SHOW(munmap(bigger + 1, 4096));
    SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 77, 0) == MAP_FAILED ? errno : 0);
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
    unsigned char *none = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(mprotect(none + 4096, 4096, PROT_READ | PROT_WRITE));
    SHOW(zero(none + 4096, 4096));
    none[4096] = 1;
    SHOW(mprotect(none, 65536, PROT_READ | PROT_WRITE));
    SHOW(none[4096] + none[8192]);
    SHOW(mprotect(none + 1, 4096, PROT_READ));

    // Ranges that reach around the end of all addresses.
    volatile size_t around = SIZE_MAX - 8191, from_none = 0 - (size_t)none + 4096;
    SHOW(mprotect(none, around, PROT_READ));
    SHOW(mprotect(none, from_none, PROT_READ));
    SHOW(mprotect(none, SIZE_MAX, PROT_READ));
    SHOW(munmap(none, from_none));
    SHOW(mremap(none, 4096, around, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
    SHOW(mremap(none, 4096, from_none, 0) == MAP_FAILED ? errno : 0);
    SHOW(mremap(none, from_none, 8192, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0);
    none[0] = 5;
    SHOW(none[0] + none[4096]);

    int fd = open("f", O_RDWR | O_CREAT, 0600);
    SHOW(ftruncate(fd, 5000));
    SHOW(pwrite(fd, "text", 4, 4096));
    char *file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    SHOW(file != MAP_FAILED);
    printf("%.4s %d\n", file + 4096, file[5000]);
    file[4096] = 'T';
    char buffer[5] = {0};
    SHOW(pread(fd, buffer, 4, 4096));
    printf("%s\n", buffer);
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED ? errno : 0);
    char *start = sbrk(0);
    SHOW(sbrk(100000) == start);
    SHOW(zero((unsigned char *)start, 100000));
    memset(start, 1, 100000);
    SHOW(brk(start));
    SHOW(brk(start + 4096) == 0);
    size_t total = 0;
    void *blocks[64];
    for (int i = 0; i < 64; i++) {
        size_t size = (size_t)(i + 1) * 3000;
        blocks[i] = calloc(1, size);
        total += zero(blocks[i], size);
        memset(blocks[i], i, size);
    }
    for (int i = 0; i < 64; i += 2) free(blocks[i]);
    for (int i = 1; i < 64; i += 2) total += ((unsigned char *)blocks[i])[i * 2999] == i;
    SHOW(total);
    return 0;
}
