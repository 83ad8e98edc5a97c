/* Takes and gives back more memory than the library OS keeps; what comes again is zero. */
#include "check.h"
#include <stdbool.h>

#define PART ((size_t)8 << 20)
#define PARTS 10

static bool fill(char *at, size_t length, char with) {
    for (size_t i = 0; i < length; i += 4096) {
        if (at[i] != 0) return false;
        at[i] = with;
    }
    return true;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int round = 1; round <= 2; round++) {
        char *all = mmap(NULL, PART * PARTS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SHOW(all != MAP_FAILED && fill(all, PART * PARTS, (char)round));
        /* The last part stays, and keeps what it has. */
        for (int i = 0; i < PARTS - 1; i++) munmap(all + i * PART, PART);
        SHOW(all[PART * (PARTS - 1)]);
        SHOW(all[PART * PARTS - 4096]);
        /* Less than is kept comes again without the host. */
        char *again = mmap(NULL, PART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SHOW(again != MAP_FAILED && fill(again, PART, 3));
        SHOW(munmap(again, PART));
        SHOW(munmap(all + PART * (PARTS - 1), PART));
    }
    return 0;
}
