/* The heap: one area, first fit over an address-ordered list of free blocks, neighbours joined on free. Every block
 * starts with a check word that only the enclave can compute; whoever finds a wrong one stops the enclave. Nothing
 * depends on what the memory held before: the tool chain may leave heap pages unmeasured. Beyond the pages of the image
 * the area grows by pages that the enclave accepts before it uses them, and what is free at its end can go again. */
#include <stdlib.h>

#include "runtime.h"

struct block {
    uint64_t size;  /* of the whole block, a multiple of 16; bit 0: in use */
    uint64_t check; /* secret ^ address ^ size */
    struct block *next_free; /* in free blocks only */
    uint64_t padding;
};
#define HEADER 16
#define SMALLEST sizeof(struct block)
#define IN_USE 1ull

static nsgx_lock lock;
#define PAGE 4096ull
/* The heap grows by at least this much, as far as the limit allows. */
#define GROWTH (16 * PAGE)

/* heap_high: end of the pages that are there; heap_start: end of those of the image; heap_end: end of the room. */
static uint8_t *heap_low, *heap_high, *heap_start, *heap_end;
/* Pages that were taken off the end and are not yet gone; the heap does not grow over them. */
static bool detached;
static struct block *first_free;
static uint64_t heap_secret;
static size_t used;

static uint64_t check_of(const struct block *block) { return heap_secret ^ (uint64_t)block ^ block->size; }

static void seal_block(struct block *block, uint64_t size) {
    block->size = size;
    block->check = check_of(block);
}

/* Aborts unless this is a whole, well-placed block. */
static uint64_t verified_size(const struct block *block) {
    const uint8_t *at = (const uint8_t *)block;
    if (at < heap_low || at > heap_high - SMALLEST || ((uint64_t)at & 15) != 0 || block->check != check_of(block))
        nsgx_abort();
    uint64_t size = block->size & ~15ull;
    if (size < SMALLEST || size > (uint64_t)(heap_high - at)) nsgx_abort();
    return size;
}

void nsgx_heap_start(uint8_t *memory, size_t size, size_t limit, uint64_t secret) {
    heap_low = memory;
    heap_high = heap_start = memory + size;
    heap_end = memory + (limit > size ? limit : size);
    heap_secret = secret | 1ull << 63;
    first_free = NULL;
    if (size >= SMALLEST) {
        first_free = (struct block *)memory;
        first_free->next_free = NULL;
        seal_block(first_free, size);
    }
}

size_t nsgx_heap_used(void) { return used; }
size_t nsgx_heap_size(void) { return (size_t)(heap_high - heap_low); }

/* Puts a sealed block that is on no list into the list of free ones, joined with its neighbours. */
static void insert_free(struct block *block, uint64_t size) {
    struct block *before = NULL, *after = first_free;
    while (after != NULL && after < block) {
        verified_size(after);
        before = after;
        after = after->next_free;
    }
    block->next_free = after;
    if (after != NULL && (uint8_t *)block + size == (uint8_t *)after) {
        size += verified_size(after);
        block->next_free = after->next_free;
    }
    seal_block(block, size);
    if (before == NULL) {
        first_free = block;
    } else if ((uint8_t *)before + verified_size(before) == (uint8_t *)block) {
        before->next_free = block->next_free;
        seal_block(before, before->size + size);
    } else {
        before->next_free = block;
    }
}

/* The free block that ends where the heap does, or NULL. */
static struct block *last_free(void) {
    struct block *last = first_free;
    while (last != NULL && last->next_free != NULL) {
        verified_size(last);
        last = last->next_free;
    }
    return last != NULL && (uint8_t *)last + verified_size(last) == heap_high ? last : NULL;
}

/* Accepts pages behind the heap so that one block at its end has `want` bytes. False when there is no room or no page. */
static bool grow(uint64_t want) {
    uint64_t room = (uint64_t)(heap_end - heap_high);
    const struct block *last = last_free();
    if (last != NULL) want -= verified_size(last); /* it was not large enough */
    uint64_t length = (want + PAGE - 1) & ~(PAGE - 1);
    if (detached || length > room) return false;
    if (length < GROWTH) length = room < GROWTH ? room : GROWTH;
    uint64_t accepted = 0;
    while (accepted < length && nsgx_accept(heap_high + accepted, 1, NSGX_PAGE_NEW) == 0) accepted += PAGE;
    if (accepted == 0) return false;
    struct block *block = (struct block *)heap_high;
    heap_high += accepted;
    insert_free(block, accepted);
    return accepted >= want;
}

static void *allocate(uint64_t want);

void *malloc(size_t size) {
    if (size > (size_t)(heap_end - heap_low)) return NULL;
    uint64_t want = (size + HEADER + 15) & ~15ull;
    if (want < SMALLEST) want = SMALLEST;
    nsgx_lock_acquire(&lock);
    void *memory = allocate(want);
    if (memory == NULL && heap_high < heap_end && grow(want)) memory = allocate(want);
    nsgx_lock_release(&lock);
    return memory;
}

/* The first block that is large enough, cut to size; the lock is held. */
static void *allocate(uint64_t want) {
    struct block **link = &first_free;
    struct block *block = first_free;
    uint64_t have = 0;
    while (block != NULL) {
        have = verified_size(block);
        if (block->size & IN_USE) nsgx_abort();
        if (have >= want) break;
        link = &block->next_free;
        block = block->next_free;
    }
    if (block != NULL) {
        if (have - want >= SMALLEST) {
            struct block *rest = (struct block *)((uint8_t *)block + want);
            rest->next_free = block->next_free;
            seal_block(rest, have - want);
            *link = rest;
            have = want;
        } else {
            *link = block->next_free;
        }
        seal_block(block, have | IN_USE);
        used += have;
    }
    return block == NULL ? NULL : (uint8_t *)block + HEADER;
}

void free(void *memory) {
    if (memory == NULL) return;
    struct block *block = (struct block *)((uint8_t *)memory - HEADER);
    nsgx_lock_acquire(&lock);
    uint64_t size = verified_size(block);
    if (!(block->size & IN_USE)) nsgx_abort();
    used -= size;
    insert_free(block, size);
    nsgx_lock_release(&lock);
}

size_t nsgx_heap_detach(uint8_t **at) {
    size_t length = 0;
    nsgx_lock_acquire(&lock);
    struct block *last = last_free();
    if (!detached && last != NULL) {
        uint8_t *from = (uint8_t *)(((uint64_t)last + SMALLEST + PAGE - 1) & ~(PAGE - 1));
        if ((uint8_t *)last >= heap_start && ((uint64_t)last & (PAGE - 1)) == 0) from = (uint8_t *)last;
        if (from < heap_start) from = heap_start;
        if (from < heap_high) {
            length = (size_t)(heap_high - from);
            if (from == (uint8_t *)last) {
                struct block **link = &first_free;
                while (*link != last) link = &(*link)->next_free;
                *link = NULL;
            } else {
                seal_block(last, (uint64_t)(from - (uint8_t *)last));
            }
            nsgx_wipe(from, length);
            heap_high = from;
            detached = true;
            *at = from;
        }
    }
    nsgx_lock_release(&lock);
    return length;
}

void nsgx_heap_detached_gone(void) {
    nsgx_lock_acquire(&lock);
    detached = false;
    nsgx_lock_release(&lock);
}

void *calloc(size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) return NULL;
    void *memory = malloc(total);
    if (memory != NULL) memset(memory, 0, total);
    return memory;
}

void *realloc(void *memory, size_t size) {
    if (memory == NULL) return malloc(size);
    uint64_t held = verified_size((struct block *)((uint8_t *)memory - HEADER)) - HEADER;
    if (size <= held && size >= held / 2) return memory;
    void *moved = malloc(size);
    if (moved == NULL) return NULL;
    memcpy(moved, memory, size < held ? size : held);
    free(memory);
    return moved;
}
