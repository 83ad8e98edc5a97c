/* Memory where it refuses: addresses, lengths, flags. */
#include "../check.h"

#define BAD ((void *)8)
#define PAGE 4096l

/* An address as success, as addresses differ. */
static long mapped(void *at) { return at == MAP_FAILED ? -1 : 0; }

static int backs(char *at, long length, int value) {
    for (long i = 0; i < length; i++)
        if (at[i] != value) return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    int fd = open("f", O_RDWR | O_CREAT, 0644);
    int only = open("f", O_RDONLY), out = open("f", O_WRONLY), folder = open(".", O_RDONLY);
    char text[6000];
    memset(text, 'x', sizeof text);
    SHOW(write(fd, text, sizeof text));

    puts("-- mmap");
    SHOW(mapped(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 77, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, folder, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, out, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, only, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, only, 0)));
    SHOW(mapped(mmap(NULL, (size_t)1 << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    SHOW(mapped(mmap(NULL, (size_t)-1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    SHOW(mapped(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
    SHOW(mapped(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));

    puts("-- private mappings of files");
    char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    SHOW(mapped(at));
    SHOW(backs(at, 6000, 'x'));
    SHOW(backs(at + 6000, 2 * PAGE - 6000, 0));
    at[0] = 'y';
    char byte;
    SHOW(pread(fd, &byte, 1, 0));
    SHOW(byte == 'x');
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);
    SHOW(backs(second, 6000 - PAGE, 'x'));
    SHOW(close(fd));
    SHOW(at[100] == 'x');

    puts("-- munmap");
    SHOW(munmap(at, 0));
    SHOW(munmap(at + 1, PAGE));
    SHOW(munmap(at, PAGE));
    SHOW(at[PAGE] == 'x');
    SHOW(munmap(at, 2 * PAGE));
    SHOW(munmap(at, 2 * PAGE));
    SHOW(syscall(SYS_munmap, at, -PAGE));
    SHOW(munmap(second, 1));

    puts("-- places");
    char *area = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(backs(area, 16 * PAGE, 0));
    memset(area, 1, 16 * PAGE);
    SHOW(mmap(area + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
         area + 4 * PAGE);
    SHOW(area[4 * PAGE] == 0 && area[3 * PAGE] == 1 && area[5 * PAGE] == 1);
    SHOW(mapped(mmap(area + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
    SHOW(mapped(mmap(area, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
    SHOW(munmap(area + 8 * PAGE, PAGE));
    SHOW(mmap(area + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
              0) == area + 8 * PAGE);
    SHOW(area[8 * PAGE]);
    SHOW(mmap(area + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != area + 3 * PAGE);

    puts("-- mprotect");
    SHOW(mprotect(area + 1, PAGE, PROT_READ));
    SHOW(mprotect(area, 0, PROT_READ));
    SHOW(mprotect(area, PAGE, 0x100));
    SHOW(mprotect(area, PAGE, PROT_READ));
    SHOW(mprotect(area, PAGE, PROT_NONE));
    SHOW(mprotect(area, PAGE, PROT_READ | PROT_WRITE));
    SHOW(munmap(area + 12 * PAGE, PAGE));
    SHOW(mprotect(area + 11 * PAGE, 3 * PAGE, PROT_READ));
    SHOW(mprotect(area + 12 * PAGE, PAGE, PROT_READ));

    puts("-- mremap");
    SHOW(mapped(mremap(area + 1, PAGE, PAGE, 0)));
    SHOW(mapped(mremap(area, PAGE, 0, 0)));
    SHOW(mapped(mremap(area, PAGE, PAGE, 0x100)));
    SHOW(mapped(mremap(area + 12 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
    SHOW(mremap(area, 4 * PAGE, 2 * PAGE, 0) == area);
    SHOW(mapped(mremap(area + 4 * PAGE, PAGE, 3 * PAGE, 0)));
    area[6 * PAGE] = 7;
    char *moved = mremap(area + 6 * PAGE, PAGE, 40 * PAGE, MREMAP_MAYMOVE);
    SHOW(mapped(moved));
    SHOW(moved[0]);
    SHOW(moved[39 * PAGE]);

    puts("-- advice");
    SHOW(madvise(area + 1, PAGE, MADV_DONTNEED));
    SHOW(madvise(area + 4 * PAGE, PAGE, 9999));
    SHOW(madvise(area + 4 * PAGE, 0, MADV_DONTNEED));
    memset(moved, 5, 2 * PAGE);
    SHOW(madvise(moved, PAGE, MADV_DONTNEED));
    SHOW(moved[0] + moved[PAGE]);
    SHOW(madvise(area + 12 * PAGE, PAGE, MADV_WILLNEED));
    unsigned char there[4];
    SHOW(mincore(moved, 2 * PAGE, there));
    SHOW(mincore(moved + 1, PAGE, there));
    SHOW(mincore(moved, PAGE, BAD));
    SHOW(mincore(area + 12 * PAGE, PAGE, there));
    SHOW(msync(moved, PAGE, MS_SYNC));
    SHOW(msync(moved + 1, PAGE, MS_SYNC));
    SHOW(msync(moved, PAGE, MS_SYNC | MS_ASYNC));
    SHOW(msync(moved, PAGE, 0x100));
    SHOW(msync(area + 12 * PAGE, PAGE, MS_SYNC));
    SHOW(mlock(moved, PAGE));
    SHOW(munlock(moved, PAGE));
    SHOW(mlock(area + 12 * PAGE, PAGE));
    SHOW(mlockall(0));
    SHOW(mlockall(77));
    SHOW(munlockall());

    puts("-- brk");
    char *end = sbrk(0);
    SHOW(sbrk(3 * PAGE) == end);
    SHOW(backs(end, 3 * PAGE, 0));
    memset(end, 3, 3 * PAGE);
    SHOW(sbrk(-2 * PAGE) == end + 3 * PAGE);
    SHOW(sbrk(2 * PAGE) == end + PAGE);
    SHOW(end[0] == 3 && end[2 * PAGE] == 0);
    SHOW((char *)syscall(SYS_brk, 8) == (char *)sbrk(0));
    SHOW((char *)syscall(SYS_brk, -PAGE) == (char *)sbrk(0));

    puts("-- copies at the edge");
    char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + PAGE, PAGE);
    int pipes[2];
    SHOW(pipe(pipes));
    memset(edge, 'e', PAGE);
    SHOW(write(pipes[1], edge + PAGE - 4, 4));
    SHOW(read(pipes[0], edge + PAGE - 4, 4));
    return 0;
}
