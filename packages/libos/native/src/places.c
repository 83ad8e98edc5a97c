/* Where the program's stack and memory begin: elsewhere at each start, in pages that the image has for that. Its code lies
 * where it was measured. */
#include "libos.h"
#include "nsgx_crypto.h"

#define PAGE 4096ull
/* The arena begins in pages that are there from the start, so that the first of brk cost nothing more. */
#define FIRST_PAGES 64
/* So much of the stack may lie unused. */
#define STACK_SPREAD 65536
#define STACK_STEP 16

static uint64_t below(uint64_t limit) {
    uint64_t word;
    nsgx_random(&word, sizeof word);
    return word % limit;
}

const struct libos_places *libos_places(void) {
    static struct libos_places places;
    if (places.stack_end != 0) return &places;
    const struct libos_boot *boot = libos_boot();
    places = (struct libos_places){boot->arena_start, boot->arena_size, boot->stack_start + boot->stack_size};
    if ((boot->flags & LIBOS_FLAG_FIXED_PLACES) != 0 || boot->arena_slack < FIRST_PAGES * PAGE) return &places;
    uint64_t before = below(FIRST_PAGES) * PAGE;
    uint64_t behind = below((boot->arena_slack - FIRST_PAGES * PAGE) / PAGE + 1) * PAGE;
    places.arena_start += before;
    places.arena_size += boot->arena_slack - before - behind;
    uint64_t spread = boot->stack_size / 16 < STACK_SPREAD ? boot->stack_size / 16 : STACK_SPREAD;
    places.stack_end -= below(spread / STACK_STEP + 1) * STACK_STEP;
    return &places;
}
