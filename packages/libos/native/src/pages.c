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
static const struct secinfo trimmed_page = {NSGX_PAGE_TRIM | NSGX_PAGE_MODIFIED, {0}};

/* Whether the page at an offset from the base has been there since the start. */
static bool ready(const struct libos_boot *boot, uint64_t offset) {
    if (offset - boot->core_start < boot->core_size) return offset - boot->core_start < boot->core_ready;
    if (offset - boot->stack_start < boot->stack_size) return offset - boot->stack_start >= boot->stack_size - boot->stack_ready;
    if (offset - boot->arena_start < boot->arena_size + boot->arena_slack) return offset - boot->arena_start < boot->arena_ready;
    return true;
}

/* Two bits for each page of the ELRANGE: whether it has been accepted, and whether it is to be when it is first used. */
static uint8_t *made_bits(const struct libos_boot *boot, uint64_t offset) {
    return __image_base + boot->pages_start + offset / PAGE / 8;
}
static uint8_t *wanted_bits(const struct libos_boot *boot, uint64_t offset) {
    return made_bits(boot, offset) + boot->pages_size;
}
static uint8_t bit_of(uint64_t offset) { return (uint8_t)(1u << (offset / PAGE % 8)); }

/* Around the bits and what they say of pages: a page is used for the first time by several threads at once. */
static volatile uint32_t held;
static void take(void) {
    while (__atomic_exchange_n(&held, 1, __ATOMIC_ACQUIRE) != 0)
        while (held != 0) __asm__ volatile("pause" : : : "memory");
}
static void give(void) { __atomic_store_n(&held, 0, __ATOMIC_RELEASE); }

static uint64_t offset_of(uint64_t address) { return (address - (uint64_t)__image_base) & ~(PAGE - 1); }

static bool there(const struct libos_boot *boot, uint64_t offset) {
    return ready(boot, offset) || (*made_bits(boot, offset) & bit_of(offset)) != 0;
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
    for (uint64_t i = 0; i < done; i++) *made_bits(boot, offset + i * PAGE) |= bit_of(offset + i * PAGE);
    accepted += done;
    return done == count;
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
        if (!fill && now) good = make(boot, offset, count);
        if (!fill && !now)
            for (uint64_t i = 0; i < count; i++) *wanted_bits(boot, offset + i * PAGE) |= bit_of(offset + i * PAGE);
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
           (*wanted_bits(boot, offset) & bit_of(offset)) != 0;
}

bool libos_page_wanted(uint64_t address) {
    const struct libos_boot *boot = libos_boot();
    if (!lazy(address, 1)) return false;
    uint64_t offset = offset_of(address), from = offset, count = 1;
    take();
    bool good;
    if (wanted(boot, offset)) {
        bool goes_on = offset == scan_next;
        scan_count = !goes_on ? AROUND : scan_count < MOST ? scan_count * 4 : MOST;
        if (scan_count > MOST) scan_count = MOST;
        if (!goes_on)
            while (from % (AROUND * PAGE) != 0 && wanted(boot, from - PAGE)) from -= PAGE;
        while (count < (offset - from) / PAGE + 1 || (count < scan_count && wanted(boot, from + count * PAGE))) count++;
        good = make(boot, from, count);
        if (!good) good = make(boot, from = offset, count = 1);
        for (uint64_t i = 0; good && i < count; i++) *wanted_bits(boot, from + i * PAGE) &= (uint8_t)~bit_of(from + i * PAGE);
        scan_next = from + count * PAGE;
    } else {
        /* Another thread may have been quicker: what is there can be read and written, unless the host took it. */
        static uint64_t last, times;
        times = offset == last ? times + 1 : 0;
        last = offset;
        good = (*made_bits(boot, offset) & bit_of(offset)) != 0 && times < QUICKER;
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
    if (!libos_host_pages(false, offset, count * PAGE)) return false;
    uint64_t code = no_ranges ? LIBOS_NO_LEAF : libos_leaf_eaccept_range(&trimmed_page, __image_base + offset, count);
    for (uint64_t i = 0; code == LIBOS_NO_LEAF && i < count; i++)
        if (nsgx_leaf_eaccept(&trimmed_page, __image_base + offset + i * PAGE) != 0) return false;
    return code == 0 || code == LIBOS_NO_LEAF;
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
            for (uint64_t i = 0; i < count; i++) *made_bits(boot, offset + i * PAGE) &= (uint8_t)~bit_of(offset + i * PAGE);
            give();
            if (!libos_host_pages(true, offset, count * PAGE)) return;
        }
        offset += count * PAGE;
    }
}

bool libos_make_executable(uint64_t address, uint64_t length) {
    for (uint64_t at = address & ~(PAGE - 1); at < address + length; at += PAGE) {
        uint64_t offset = offset_of(at);
        take();
        bool good = there(libos_boot(), offset) || make(libos_boot(), offset, 1);
        give();
        if (!good) return false;
        nsgx_leaf_emodpe(&code_page, (const void *)at);
    }
    return true;
}
