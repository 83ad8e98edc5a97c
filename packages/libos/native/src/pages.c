/* Memory on demand (EDMM): pages of the arena and of the core's memory come when they are given out for the first time.
 * Accepting a page that is not there makes the host add it, several at a time when they follow one another. */
#include "libos.h"
#include "nsgx_edmm.h"

#define PAGE 4096ull

struct secinfo {
    uint64_t flags, reserved[7];
} __attribute__((aligned(64)));

/* Assembly of the runtime: it uses no vector registers, which are the program's here. */
extern uint64_t nsgx_leaf_eaccept(const void *secinfo, const void *page);

extern void nsgx_leaf_emodpe(const void *secinfo, const void *page);

static const struct secinfo code_page = {NSGX_PAGE_REG | NSGX_PAGE_R | NSGX_PAGE_W | NSGX_PAGE_X, {0}};
static const struct secinfo new_page = {NSGX_PAGE_NEW, {0}};

/* Whether the page at an offset from the base has been there since the start. */
static bool ready(const struct libos_boot *boot, uint64_t offset) {
    if (offset - boot->core_start < boot->core_size) return offset - boot->core_start < boot->core_ready;
    if (offset - boot->arena_start < boot->arena_size) return offset - boot->arena_start < boot->arena_ready;
    return true;
}

/* 1: new, and so zero; 0: it was there; -1: the host does not give it. */
static int make(const struct libos_boot *boot, uint64_t offset) {
    if (ready(boot, offset)) return 0;
    uint64_t number = offset / PAGE;
    uint8_t *byte = __image_base + boot->pages_start + number / 8;
    uint8_t bit = (uint8_t)(1u << (number % 8));
    if (*byte & bit) return 0;
    if (nsgx_leaf_eaccept(&new_page, __image_base + offset) != 0) return -1;
    *byte |= bit;
    return 1;
}

bool libos_make_zero(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    while (length > 0) {
        uint64_t part = PAGE - (address & (PAGE - 1));
        if (part > length) part = length;
        int made = make(boot, (address - (uint64_t)__image_base) & ~(PAGE - 1));
        if (made < 0 || (made == 0 && !libos_guarded_fill((void *)address, part))) return false;
        address += part;
        length -= part;
    }
    return true;
}

bool libos_make_executable(uint64_t address, uint64_t length) {
    for (uint64_t at = address & ~(PAGE - 1); at < address + length; at += PAGE)
        nsgx_leaf_emodpe(&code_page, (const void *)at);
    return true;
}
