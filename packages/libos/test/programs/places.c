/* Where things are: stack, heap, mappings, code; and that all the memory that was promised can be used. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int local;
    char *large = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%lx %lx %lx %lx\n", (unsigned long)&local, (unsigned long)sbrk(0), (unsigned long)large, (unsigned long)&main);
    size_t most = strtoul(argv[1], 0, 0) << 20;
    char *all = mmap(0, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return 1;
    all[0] = all[most - 1] = 1;
    char *stack = alloca(900 << 10);
    memset(stack, 1, 900 << 10);
    return stack[argc] == 1 && argc == 2 ? 0 : 2;
}
