/* Memory on demand (EDMM): pages of the arena and of the core's memory come when they are given out for the first time.
 * Accepting a page that is not there makes the host add it, several at a time when they follow one another. */
#include "pages.h"

#define PAGE LIBOS_PAGE

static const struct libos_secinfo new_page = {NSGX_PAGE_NEW, {0}};
static const struct libos_secinfo sealed_page = {NSGX_PAGE_REG | NSGX_PAGE_R, {0}};
static const struct libos_secinfo trimmed_page = {NSGX_PAGE_TRIM | NSGX_PAGE_MODIFIED, {0}};
/* What pages that cannot be written begin with. */
static const uint8_t zero_page[PAGE] __attribute__((aligned(PAGE)));

/* Whether the page at an offset from the base has been there since the start. */
static bool ready(const struct libos_boot *boot, uint64_t offset) {
    if (offset - boot->core_start < boot->core_size) return offset - boot->core_start < boot->core_ready;
    if (offset - boot->stack_start < boot->stack_size) return offset - boot->stack_start >= boot->stack_size - boot->stack_ready;
    if (offset - boot->arena_start < boot->arena_size + boot->arena_slack) return offset - boot->arena_start < boot->arena_ready;
    return true;
}

static uint8_t *made_bits(const struct libos_boot *boot, uint64_t offset) { return libos_page_bits(boot, LIBOS_MADE, offset); }
static uint8_t *wanted_bits(const struct libos_boot *boot, uint64_t offset) { return libos_page_bits(boot, LIBOS_WANTED, offset); }
static uint8_t bit_of(uint64_t offset) { return (uint8_t)(1u << (offset / PAGE % 8)); }

/* Around the bits and what they say of pages: a page is used for the first time by several threads at once. */
static volatile uint32_t held;
static void take(void) {
    while (__atomic_exchange_n(&held, 1, __ATOMIC_ACQUIRE) != 0)
        while (held != 0) __asm__ volatile("pause" : : : "memory");
}
static void give(void) { __atomic_store_n(&held, 0, __ATOMIC_RELEASE); }
void libos_pages_take(void) { take(); }
void libos_pages_give(void) { give(); }

static uint64_t offset_of(uint64_t address) { return libos_page_offset(address); }

static bool there(const struct libos_boot *boot, uint64_t offset) {
    return ready(boot, offset) || (*made_bits(boot, offset) & bit_of(offset)) != 0;
}

bool libos_page_there(const struct libos_boot *boot, uint64_t offset) { return there(boot, offset); }

/* A page that comes, or is given out again, can be read and written. */
static void open_page(const struct libos_boot *boot, uint64_t offset) {
    *libos_page_bits(boot, LIBOS_SEALED, offset) &= (uint8_t)~bit_of(offset);
    *libos_page_bits(boot, LIBOS_HIDDEN, offset) &= (uint8_t)~bit_of(offset);
}

/* With the lock: how many pages from an offset on are there, or are not, as the first one; at most `most`. */
static uint64_t alike(const struct libos_boot *boot, uint64_t offset, uint64_t most) {
    bool first = there(boot, offset);
    uint64_t count = 1;
    while (count < most && there(boot, offset + count * PAGE) == first) count++;
    return count;
}

/* Most pages that are accepted under the lock. */
#define MOST 512ull

/* What the host's machine does not have a leaf for is done page by page. */
static bool no_ranges;
static uint64_t accepted;

/* With the lock: accepts pages that are not there, and so zero. False when the host does not give them. */
static bool make(const struct libos_boot *boot, uint64_t offset, uint64_t count) {
    uint64_t done = 0;
    if (!no_ranges && count > 1) {
        uint64_t code = libos_leaf_eaccept_range(&new_page, __image_base + offset, count);
        if (code == 0) done = count;
        no_ranges = code == LIBOS_NO_LEAF;
    }
    for (; done < count; done++)
        if (nsgx_leaf_eaccept(&new_page, __image_base + offset + done * PAGE) != 0) break;
    for (uint64_t i = 0; i < done; i++) {
        *made_bits(boot, offset + i * PAGE) |= bit_of(offset + i * PAGE);
        open_page(boot, offset + i * PAGE);
    }
    accepted += done;
    return done == count;
}

/* The same for pages that can be read only: EACCEPTCOPY gives them their permissions without the host. */
static bool make_sealed(const struct libos_boot *boot, uint64_t offset, uint64_t count) {
    for (uint64_t i = 0; i < count; i++, offset += PAGE) {
        if (nsgx_leaf_eacceptcopy(&sealed_page, __image_base + offset, zero_page) != 0) return false;
        *made_bits(boot, offset) |= bit_of(offset);
        accepted++;
    }
    return true;
}

bool libos_accept_pages(const struct libos_secinfo *secinfo, uint64_t offset, uint64_t count) {
    if (!no_ranges && count > 1) {
        uint64_t code = libos_leaf_eaccept_range(secinfo, __image_base + offset, count);
        if (code != LIBOS_NO_LEAF) return code == 0;
    }
    for (uint64_t i = 0; i < count; i++)
        if (nsgx_leaf_eaccept(secinfo, __image_base + offset + i * PAGE) != 0) return false;
    return true;
}

uint64_t libos_accepted_pages(void) { return __atomic_load_n(&accepted, __ATOMIC_RELAXED); }

static uint64_t pages_to(uint64_t address, uint64_t end) {
    uint64_t count = (offset_of(end - 1) - offset_of(address)) / PAGE + 1;
    return count < MOST ? count : MOST;
}

/* What pages that are there hold becomes zero; the others come, or are wanted. */
static bool clear(uint64_t address, uint64_t length, bool now) {
    const struct libos_boot *boot = libos_boot();
    for (uint64_t end = address + length; address < end;) {
        uint64_t offset = offset_of(address);
        take();
        uint64_t count = alike(boot, offset, pages_to(address, end));
        bool fill = there(boot, offset), good = true;
        if (fill) libos_lift(boot, offset, count, NSGX_PAGE_R | NSGX_PAGE_W);
        if (!fill && now) good = make(boot, offset, count);
        if (!fill && !now)
            for (uint64_t i = 0; i < count; i++) {
                *wanted_bits(boot, offset + i * PAGE) |= bit_of(offset + i * PAGE);
                open_page(boot, offset + i * PAGE);
            }
        give();
        uint64_t next = (uint64_t)__image_base + offset + count * PAGE;
        if (next > end) next = end;
        if (!good || (fill && !libos_guarded_fill((void *)address, next - address))) return false;
        address = next;
    }
    return true;
}

bool libos_make_zero(uint64_t address, uint64_t length) { return clear(address, length, true); }
bool libos_want_zero(uint64_t address, uint64_t length) { return clear(address, length, false); }

bool libos_bring(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    bool good = true;
    for (uint64_t end = address + length; good && address < end;) {
        uint64_t offset = offset_of(address);
        take();
        uint64_t count = alike(boot, offset, pages_to(address, end));
        if (!there(boot, offset)) good = make(boot, offset, count);
        give();
        address = (uint64_t)__image_base + offset + count * PAGE;
    }
    return good;
}

uint64_t libos_next_page(uint64_t address, uint64_t end, bool present) {
    const struct libos_boot *boot = libos_boot();
    for (; address < end; address += PAGE) {
        uint64_t offset = offset_of(address);
        /* Eight pages that never came are passed over at once. */
        if (present && offset % (8 * PAGE) == 0 && !ready(boot, offset) && !ready(boot, offset + 7 * PAGE) &&
            *made_bits(boot, offset) == 0) {
            address += 7 * PAGE;
            continue;
        }
        if (there(boot, offset) == present) return address;
    }
    return end;
}

void libos_unwant(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    take();
    for (uint64_t offset = offset_of(address), end = offset + length; offset < end; offset += PAGE)
        *wanted_bits(boot, offset) &= (uint8_t)~bit_of(offset);
    give();
}

/* Pages that come with the one that is used: those of the same 64 KiB, and more for a scan that goes on. */
#define AROUND 16ull
/* So often in a row nobody else is quicker. */
#define QUICKER 4096ull
static uint64_t scan_next, scan_count = AROUND;

/* Memory of programs and of the core comes when it is used. */
static bool lazy(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    uint64_t offset = address - (uint64_t)__image_base;
    return libos_in_user(address, length) ||
           (length <= boot->core_size && offset - boot->core_start <= boot->core_size - length);
}

static bool wanted(const struct libos_boot *boot, uint64_t offset) {
    return lazy((uint64_t)__image_base + offset, PAGE) && !there(boot, offset) &&
           (*wanted_bits(boot, offset) & bit_of(offset)) != 0 && !libos_page_is(boot, LIBOS_HIDDEN, offset);
}

static bool is_sealed(const struct libos_boot *boot, uint64_t offset) { return libos_page_is(boot, LIBOS_SEALED, offset); }

bool libos_page_wanted(uint64_t address, bool write, bool absent) {
    const struct libos_boot *boot = libos_boot();
    if (!lazy(address, 1)) return false;
    uint64_t offset = offset_of(address), from = offset, count = 1;
    take();
    bool good, sealed = is_sealed(boot, offset);
    if (libos_page_is(boot, LIBOS_HIDDEN, offset) || (write && sealed)) {
        good = false;
    } else if (sealed && wanted(boot, offset)) {
        while (count < AROUND && wanted(boot, offset + count * PAGE) && is_sealed(boot, offset + count * PAGE)) count++;
        good = make_sealed(boot, offset, count);
    } else if (wanted(boot, offset)) {
        bool goes_on = offset == scan_next;
        scan_count = !goes_on ? AROUND : scan_count < MOST ? scan_count * 4 : MOST;
        if (scan_count > MOST) scan_count = MOST;
        if (!goes_on)
            while (from % (AROUND * PAGE) != 0 && wanted(boot, from - PAGE) && !is_sealed(boot, from - PAGE)) from -= PAGE;
        while (count < (offset - from) / PAGE + 1 ||
               (count < scan_count && wanted(boot, from + count * PAGE) && !is_sealed(boot, from + count * PAGE)))
            count++;
        good = make(boot, from, count);
        if (!good) good = make(boot, from = offset, count = 1);
        for (uint64_t i = 0; good && i < count; i++) *wanted_bits(boot, from + i * PAGE) &= (uint8_t)~bit_of(from + i * PAGE);
        scan_next = from + count * PAGE;
    } else {
        /* Another thread may have been quicker, or the machine has lost what is there: its driver brings it with the next fault. */
        static uint64_t last, times;
        times = offset == last ? times + 1 : 0;
        last = offset;
        good = (absent ? there(boot, offset) : (*made_bits(boot, offset) & bit_of(offset)) != 0) && times < QUICKER;
    }
    give();
    return good;
}

uint64_t libos_count_pages(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    uint64_t count = 0;
    take();
    for (uint64_t offset = offset_of(address), end = offset + length; offset < end; offset += PAGE)
        if (*made_bits(boot, offset) & bit_of(offset)) count++;
    give();
    return count;
}

/* Pages of one step, and the fewest that are worth one. */
#define STEP 1024ull
#define WORTH 16ull

static bool trim(uint64_t offset, uint64_t count) {
    return libos_host_pages(LIBOS_PAGES_TRIM, offset, count * PAGE) && libos_accept_pages(&trimmed_page, offset, count);
}

void libos_return_pages(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    uint64_t offset = offset_of(address), end = offset + length;
    while (offset < end) {
        uint64_t count = 0;
        take();
        while (offset < end && (*made_bits(boot, offset) & bit_of(offset)) == 0) offset += PAGE;
        while (count < STEP && offset + count * PAGE < end && (*made_bits(boot, offset + count * PAGE) & bit_of(offset + count * PAGE)))
            count++;
        give();
        if (count >= WORTH) {
            /* Pages that the host has half taken fault: whoever gets them is told that there is no memory. */
            if (!trim(offset, count)) return;
            take();
            for (uint64_t i = 0; i < count; i++) {
                *made_bits(boot, offset + i * PAGE) &= (uint8_t)~bit_of(offset + i * PAGE);
                libos_page_set(boot, LIBOS_CODE, offset + i * PAGE, false);
                open_page(boot, offset + i * PAGE);
            }
            give();
            if (!libos_host_pages(LIBOS_PAGES_REMOVE, offset, count * PAGE)) return;
        }
        offset += count * PAGE;
    }
}
