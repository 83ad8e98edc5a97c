/* Protections of the program's memory: EMODPE adds permissions without the host, EMODPR takes them with it, which counts once
 * EACCEPT has said so. A page that has not come yet costs nothing: how it is to come is noted. */
#include "pages.h"

#define PROT_READ 1u
#define PROT_WRITE 2u
#define PROT_EXEC 4u
#define PAGE LIBOS_PAGE

/* Pages of one call out, and those that are done with the lock. */
#define MOST 1024ull
#define LOCKED 64ull

/* As x86 has it: memory that can be written or executed can be read. */
static uint32_t rights_of(uint32_t protection) {
    if ((protection & (PROT_READ | PROT_WRITE | PROT_EXEC)) == 0) return 0;
    return NSGX_PAGE_R | (protection & PROT_WRITE ? NSGX_PAGE_W : 0) | (protection & PROT_EXEC ? NSGX_PAGE_X : 0);
}

uint32_t libos_page_rights(const struct libos_boot *boot, uint64_t offset) {
    if (libos_page_is(boot, LIBOS_HIDDEN, offset)) return 0;
    return NSGX_PAGE_R | (libos_page_is(boot, LIBOS_SEALED, offset) ? 0 : NSGX_PAGE_W) |
           (libos_page_is(boot, LIBOS_CODE, offset) ? NSGX_PAGE_X : 0);
}

static void note_rights(const struct libos_boot *boot, uint64_t offset, uint32_t rights) {
    libos_page_set(boot, LIBOS_HIDDEN, offset, rights == 0);
    libos_page_set(boot, LIBOS_SEALED, offset, (rights & NSGX_PAGE_W) == 0);
    libos_page_set(boot, LIBOS_CODE, offset, (rights & NSGX_PAGE_X) != 0);
}

void libos_lift(const struct libos_boot *boot, uint64_t offset, uint64_t count, uint32_t rights) {
    for (uint64_t end = offset + count * PAGE; offset < end; offset += PAGE) {
        uint32_t has = libos_page_rights(boot, offset);
        if ((has & rights) == rights) continue;
        const struct libos_secinfo more = {NSGX_PAGE_REG | has | rights, {0}};
        nsgx_leaf_emodpe(&more, __image_base + offset);
        note_rights(boot, offset, has | rights);
    }
}

void libos_lift_range(uint64_t address, uint64_t length, bool write) {
    const struct libos_boot *boot = libos_boot();
    if (length == 0) return;
    libos_pages_take();
    for (uint64_t offset = libos_page_offset(address), end = address - (uint64_t)__image_base + length; offset < end; offset += PAGE)
        if (libos_page_there(boot, offset)) libos_lift(boot, offset, 1, NSGX_PAGE_R | (write ? NSGX_PAGE_W : 0));
    libos_pages_give();
}

uint64_t libos_protect(uint64_t address, uint64_t length, uint32_t protection) {
    const struct libos_boot *boot = libos_boot();
    uint32_t rights = rights_of(protection), given = rights & (NSGX_PAGE_R | NSGX_PAGE_W);
    uint64_t more = 0;
    for (uint64_t offset = libos_page_offset(address), end = offset + length; offset < end;) {
        uint64_t stop = end - offset < LOCKED * PAGE ? end : offset + LOCKED * PAGE;
        libos_pages_take();
        for (; offset < stop; offset += PAGE) {
            if (libos_page_there(boot, offset)) {
                libos_lift(boot, offset, 1, given);
                if (libos_page_rights(boot, offset) & ~rights) more++;
            } else {
                note_rights(boot, offset, given);
            }
        }
        libos_pages_give();
    }
    return more;
}

/* With the lock: how many pages from one on have the same permissions, too many, and what is to be left of them. */
static uint64_t run_of(const struct libos_boot *boot, uint64_t offset, uint64_t end, uint32_t rights, uint32_t *has) {
    uint64_t count = 0;
    for (; offset < end && count < MOST; offset += PAGE, count++) {
        if (!libos_page_there(boot, offset)) break;
        uint32_t now = libos_page_rights(boot, offset);
        if ((now & ~rights) == 0 || (count > 0 && now != *has)) break;
        *has = now;
    }
    return count;
}

bool libos_restrict(uint64_t address, uint64_t length, uint32_t protection) {
    const struct libos_boot *boot = libos_boot();
    uint32_t rights = rights_of(protection), has = 0;
    for (uint64_t offset = libos_page_offset(address), end = offset + length; offset < end;) {
        libos_pages_take();
        uint64_t count = run_of(boot, offset, end, rights, &has);
        /* Who uses them from now on is told so, whether the host has come to it or not. */
        for (uint64_t i = 0; i < count; i++) note_rights(boot, offset + i * PAGE, has & rights);
        libos_pages_give();
        if (count == 0) {
            offset += PAGE;
            continue;
        }
        const struct libos_secinfo left = {NSGX_PAGE_REG | NSGX_PAGE_PR | (has & rights), {0}};
        if (!libos_host_pages(LIBOS_PAGES_RESTRICT | (has & rights), offset, count * PAGE) ||
            !libos_accept_pages(&left, offset, count)) {
            libos_pages_take();
            for (uint64_t i = 0; i < count; i++) note_rights(boot, offset + i * PAGE, has);
            libos_pages_give();
            return false;
        }
        offset += count * PAGE;
    }
    return true;
}

bool libos_make_executable(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    if (!libos_bring(address, length)) return false;
    libos_pages_take();
    uint64_t offset = libos_page_offset(address), end = libos_page_offset(address + length + PAGE - 1);
    libos_lift(boot, offset, (end - offset) / PAGE, NSGX_PAGE_R | NSGX_PAGE_X);
    libos_pages_give();
    return true;
}
