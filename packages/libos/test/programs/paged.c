/* Uses memory of all kinds again and again, for a while, and tells where it is: paged MILLISECONDS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 512 };
static unsigned char data[64 * PAGE] __attribute__((aligned(4096))) = {1};
static unsigned char bss[64 * PAGE] __attribute__((aligned(4096)));

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Writes, then reads; half of the rounds the other way round, so that either comes first behind a loss. */
static int use(unsigned char *at, int pages, int round) {
    int wrong = 0;
    for (int i = 0; i < pages; i++) {
        unsigned char *page = at + i * PAGE;
        if (round % 2 == 0) wrong += page[100] != (unsigned char)(round == 0 ? page[100] : round - 1 + i);
        page[100] = (unsigned char)(round + i);
        page[4095] = page[100];
    }
    return wrong;
}

int main(int argc, char **argv) {
    unsigned char *heap = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double until = now() + atoi(argv[1]) / 1000.0;
    int wrong = 0;
    printf("%p %d\n%p %d\n%p %d\n", heap, PAGES * PAGE, data, (int)sizeof data, bss, (int)sizeof bss);
    fflush(stdout);
    for (int round = 0; round < 2 || now() < until; round++) {
        wrong += use(heap, PAGES, round) + use(data, 64, round) + use(bss, 64, round);
        usleep(5000);
    }
    printf("wrong %d\n", wrong);
    return wrong != 0;
}
