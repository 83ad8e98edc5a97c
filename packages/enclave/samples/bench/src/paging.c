/* A working set of whole pages, touched in patterns: each page holds what only this code knows it should. */
#include <stdlib.h>

#include "nsgx_interface.h"

enum { PAGE = 4096, WORDS = PAGE / 8 };
enum { SEQUENTIAL, RANDOM, HOT_SET };

static uint8_t *block;
static uint64_t *memory;
static uint64_t count;
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t expected(uint64_t page, uint64_t word) { return (page + word) * 0xbf58476d1ce4e5b9u; }

void touch_begin(uint64_t pages) {
    if (pages == 0 || pages > 1u << 20 || block != NULL) {
        nsgx_fail(NSGX_INVALID_ARGUMENT);
        return;
    }
    block = malloc((pages + 1) * PAGE);
    if (block == NULL) {
        nsgx_fail(NSGX_OUT_OF_MEMORY);
        return;
    }
    memory = (uint64_t *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
    count = pages;
    for (uint64_t page = 0; page < pages; page++)
        for (uint64_t i = 0; i < WORDS; i++) memory[page * WORDS + i] = expected(page, i);
}

/* Reads all of a page and writes to it, one after the other; gives the number that did not hold what they should. */
uint64_t touch(uint32_t pattern, uint64_t times) {
    uint64_t wrong = 0;
    if (block == NULL || pattern > HOT_SET) {
        nsgx_fail(NSGX_INVALID_ARGUMENT);
        return 0;
    }
    uint64_t hot = count / 10 ? count / 10 : 1;
    for (uint64_t i = 0; i < times; i++) {
        uint64_t page = i % count;
        if (pattern == RANDOM) page = next() % count;
        if (pattern == HOT_SET) page = next() % 10 ? next() % hot : next() % count;
        uint64_t *words = memory + page * WORDS;
        uint64_t differs = 0;
        for (uint64_t i = 0; i < WORDS; i++) differs |= words[i] ^ expected(page, i);
        wrong += differs != 0;
        words[i % WORDS] = expected(page, i % WORDS);
    }
    return wrong;
}

void touch_end(void) {
    free(block);
    block = NULL;
}
