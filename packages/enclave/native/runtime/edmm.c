/* The leaves of dynamic memory with the alignment that they demand. */
#include "nsgx_edmm.h"

#include "runtime.h"

struct secinfo {
    uint64_t flags;
    uint64_t reserved[7];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct secinfo) == 64, "SECINFO");

#define PAGE 4096u

static bool own_pages(const void *address, size_t pages) {
    return ((uint64_t)address & (PAGE - 1)) == 0 && pages <= nsgx_layout.image_size / PAGE &&
           nsgx_is_inside(address, pages * PAGE);
}

uint64_t nsgx_accept(void *address, size_t pages, uint64_t flags) {
    struct secinfo secinfo = {flags, {0}};
    if (!own_pages(address, pages)) return NSGX_EDMM_BAD_RANGE;
    for (size_t i = 0; i < pages; i++) {
        uint64_t code = nsgx_leaf_eaccept(&secinfo, (uint8_t *)address + i * PAGE);
        if (code != 0) return code;
    }
    return 0;
}

uint64_t nsgx_accept_copy(void *address, const void *source, uint64_t permissions) {
    struct secinfo secinfo = {NSGX_PAGE_REG | (permissions & NSGX_PAGE_RWX), {0}};
    if (!own_pages(address, 1) || !own_pages(source, 1)) return NSGX_EDMM_BAD_RANGE;
    return nsgx_leaf_eacceptcopy(&secinfo, address, source);
}

uint64_t nsgx_extend_permissions(void *address, size_t pages, uint64_t permissions) {
    struct secinfo secinfo = {permissions & NSGX_PAGE_RWX, {0}};
    if (!own_pages(address, pages)) return NSGX_EDMM_BAD_RANGE;
    for (size_t i = 0; i < pages; i++) nsgx_leaf_emodpe(&secinfo, (uint8_t *)address + i * PAGE);
    return 0;
}
