/* Memory and threads that change at run time, and a working set whose every page knows what it should hold. */
#include "nsgx_edmm.h"
#include "nsgx_interface.h"

#include <stdlib.h>

#define PAGE 4096
#define ORDER_SEQUENTIAL 0
#define ORDER_RANDOM 1

/* One page of the working set: how often it was visited, and a check value at either end. */
struct page {
    uint64_t check, visits;
    uint8_t body[PAGE - 24];
    uint64_t last;
};
_Static_assert(sizeof(struct page) == PAGE, "one page");

static struct page *pages;
static uint64_t page_count;
static void *taken;
static _Thread_local uint64_t mark = 77;

static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = (a + 1) * 0x9e3779b97f4a7c15ull ^ (b + 0x1234567) * 0xc2b2ae3d27d4eb4full;
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9ull ^ x >> 31;
}

/* Allocates the working set once; returns its pages. */
uint64_t prepare(uint64_t count) {
    if (pages != NULL) return page_count;
    uint8_t *memory = malloc((count + 1) * PAGE);
    if (memory == NULL) {
        nsgx_fail(1);
        return 0;
    }
    pages = (struct page *)(((uint64_t)memory + PAGE - 1) & ~(uint64_t)(PAGE - 1));
    page_count = count;
    for (uint64_t i = 0; i < count; i++) {
        pages[i].visits = 0;
        pages[i].check = mix(i, 0);
        pages[i].last = ~mix(i, 0);
    }
    return count;
}

/* Visits pages of [first, first + count): returns how many held something else than they should. */
uint64_t walk(uint64_t first, uint64_t count, uint64_t steps, uint32_t order, uint64_t seed) {
    if (pages == NULL || count == 0 || first > page_count || count > page_count - first) {
        nsgx_fail(2);
        return 0;
    }
    uint64_t wrong = 0, hot = count / 8 == 0 ? 1 : count / 8;
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t random = mix(seed, i), at = i % count;
        if (order == ORDER_RANDOM) at = random % count;
        else if (order != ORDER_SEQUENTIAL) at = random % 100 < 95 ? (random >> 8) % hot : (random >> 8) % count;
        struct page *page = &pages[first + at];
        uint64_t visits = page->visits;
        if (page->check != mix(first + at, visits) || page->last != ~mix(first + at, visits)) wrong++;
        page->visits = ++visits;
        page->check = mix(first + at, visits);
        page->last = ~mix(first + at, visits);
    }
    return wrong;
}

uint64_t total(void) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < page_count; i++) sum += pages[i].visits;
    return sum;
}

/* Takes a block and uses all of it; returns the heap's size. */
uint64_t take(uint64_t bytes) {
    free(taken);
    taken = malloc(bytes);
    if (taken == NULL) {
        nsgx_fail(3);
        return 0;
    }
    for (uint64_t at = 0; at < bytes; at += PAGE) ((volatile uint8_t *)taken)[at] = (uint8_t)(at >> 12);
    for (uint64_t at = 0; at < bytes; at += PAGE)
        if (((volatile uint8_t *)taken)[at] != (uint8_t)(at >> 12)) nsgx_fail(4);
    return nsgx_heap_size();
}

void drop(void) {
    free(taken);
    taken = NULL;
}

uint64_t heap_bytes(void) { return nsgx_heap_size(); }

uint64_t accept(uint64_t address, uint64_t count, uint64_t flags) {
    return nsgx_accept((void *)address, count, flags);
}

uint64_t accept_copy(uint64_t address, uint64_t source, uint64_t permissions) {
    return nsgx_accept_copy((void *)address, (const void *)source, permissions);
}

uint64_t extend(uint64_t address, uint64_t count, uint64_t permissions) {
    return nsgx_extend_permissions((void *)address, count, permissions);
}

uint64_t peek(uint64_t address) { return *(volatile uint64_t *)address; }

void poke(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }

/* Counts per thread from 77 on; the thread's index is in the upper half. */
uint64_t thread_mark(void) { return (uint64_t)nsgx_thread_index() << 32 | mark++; }

uint64_t spin(uint64_t rounds) {
    uint64_t x = 1;
    for (uint64_t i = 0; i < rounds; i++) x = mix(x, i);
    return x;
}

void empty(void) {}
