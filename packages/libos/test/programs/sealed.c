/* Memory that may only be read, used for the first time: page by page, in pieces, and by system calls. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096L
#define PAGES 512L

int main(void) {
    long sum = 0;
    int fd = open("/dev/null", O_WRONLY);
    for (int round = 0; round < 4; round++) {
        char *p = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (long i = round; i < PAGES; i += 97 + round) p[i * PAGE] = 1;
        mprotect(p, PAGES * PAGE, PROT_READ);
        for (long i = PAGES - 1; i >= 0; i -= 3) sum += p[i * PAGE];
        if (write(fd, p, PAGES * PAGE) != PAGES * PAGE) puts("write");
        for (long i = 0; i < PAGES; i++) sum += p[i * PAGE + 1];
        munmap(p, PAGES * PAGE);
    }
    printf("%ld\n", sum);
    return 0;
}
