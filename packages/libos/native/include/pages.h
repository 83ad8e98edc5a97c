/* What pages.c and protect.c know of each page of the ELRANGE. */
#ifndef LIBOS_PAGES_H
#define LIBOS_PAGES_H

#include "libos.h"
#include "nsgx_edmm.h"

#define LIBOS_PAGE 4096ull

/* Bits of a page, an array of boot->pages_size bytes for each (src/image/build.ts). SEALED, HIDDEN and CODE say of a page that
 * is there what its permissions are: without W; without any; with X. Of one that is not, the first two say how it is to come. */
enum libos_page_bit { LIBOS_MADE, LIBOS_WANTED, LIBOS_SEALED, LIBOS_HIDDEN, LIBOS_CODE };

struct libos_secinfo {
    uint64_t flags, reserved[7];
} __attribute__((aligned(64)));

/* Assembly of the runtime: it uses no vector registers, which are the program's here. */
extern uint64_t nsgx_leaf_eaccept(const void *secinfo, const void *page);
extern void nsgx_leaf_emodpe(const void *secinfo, const void *page);
extern uint64_t nsgx_leaf_eacceptcopy(const void *secinfo, const void *page, const void *source);

static inline uint64_t libos_page_offset(uint64_t address) {
    return (address - (uint64_t)__image_base) & ~(LIBOS_PAGE - 1);
}
static inline uint8_t *libos_page_bits(const struct libos_boot *boot, enum libos_page_bit bit, uint64_t offset) {
    return __image_base + boot->pages_start + (uint64_t)bit * boot->pages_size + offset / LIBOS_PAGE / 8;
}
static inline bool libos_page_is(const struct libos_boot *boot, enum libos_page_bit bit, uint64_t offset) {
    return (*libos_page_bits(boot, bit, offset) >> (offset / LIBOS_PAGE % 8) & 1) != 0;
}
static inline void libos_page_set(const struct libos_boot *boot, enum libos_page_bit bit, uint64_t offset, bool on) {
    uint8_t mask = (uint8_t)(1u << (offset / LIBOS_PAGE % 8)), *at = libos_page_bits(boot, bit, offset);
    *at = on ? *at | mask : *at & (uint8_t)~mask;
}

/* The lock around them, which is held for single steps only. */
void libos_pages_take(void);
void libos_pages_give(void);

/* With the lock: whether a page is there. */
bool libos_page_there(const struct libos_boot *boot, uint64_t offset);

/* With the lock: the permissions that a page is known to have. */
uint32_t libos_page_rights(const struct libos_boot *boot, uint64_t offset);

/* With the lock: adds permissions to pages that are there. */
void libos_lift(const struct libos_boot *boot, uint64_t offset, uint64_t count, uint32_t rights);

/* EACCEPT of pages that all have these flags: one leaf where the machine has that. */
bool libos_accept_pages(const struct libos_secinfo *secinfo, uint64_t offset, uint64_t count);

#endif
