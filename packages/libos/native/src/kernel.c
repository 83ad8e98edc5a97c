/* The core as the native half drives it: imports, system calls, and what the core asks to have done outside. */
#include "attestation.h"
#include "core.h"
#include "libos.h"
#include "nsgx_crypto.h"
#include "store.h"
#include "task.h"
#include "transport.h"

/* What the core leaves when a system call cannot be completed inside (core/request.ts). */
#define PENDING INT64_MIN
enum { OP_WRITE = 1, OP_READ, OP_ROOT, OP_WAIT, OP_EXIT, OP_NOTE, OP_PARK, OP_CLONE, OP_THREAD_EXIT, OP_VFORK, OP_END_VFORK, OP_EXEC_CHILD, OP_EXEC };
enum { OP_YIELD = 24, OP_RETURN, OP_FORK, OP_PROTECT };
enum { OP_FILES = 60 };
struct request {
    uint64_t op, argument[6];
};

/* Room for XSAVE (core/task/fork.ts). */
#define VECTORS 4096

#define EIO 5
#define ENOMEM 12
#define EFAULT 14

static w2c_core core;
static uint8_t *memory;
/* Where the request of each thread lies, as the core said when its slot was first used. */
static uint32_t request_at[LIBOS_THREADS];

const struct libos_boot *libos_boot(void) {
    static const struct libos_boot *boot;
    /* The size of an enclave is the power of two at which its own address repeats; the runtime knows it. */
    if (boot == NULL) boot = (const struct libos_boot *)(__image_base + nsgx_image_size() - 4096);
    return boot;
}

bool libos_in_user(uint64_t address, uint64_t length) {
    const struct libos_boot *boot = libos_boot();
    uint64_t offset = address - (uint64_t)__image_base - boot->user_start;
    return offset <= boot->user_size && length <= boot->user_size - offset;
}

static bool in_core(uint64_t at, uint64_t length) {
    return at <= core.w2c_memory.size && length <= core.w2c_memory.size - at;
}

/* ---- what wasm2c's code wants ---------------------------------------------------------------------------------- */

void wasm_rt_trap(wasm_rt_trap_t code) { libos_die("the core trapped", (uint64_t)code); }

bool wasm_rt_is_initialized(void) { return true; }

void wasm_rt_allocate_memory(wasm_rt_memory_t *to, uint64_t initial, uint64_t max, bool is64, uint32_t page) {
    const struct libos_boot *boot = libos_boot();
    uint64_t room = boot->core_size / page;
    if (initial > room) libos_die("no memory for the core", initial);
    memory = __image_base + boot->core_start;
    if (!libos_make_zero((uint64_t)memory, initial * page)) libos_die("no pages for the core", initial);
    *to = (wasm_rt_memory_t){memory, initial, max < room ? max : room, page, initial * page, is64};
}

/* The allocator wants the memory doubled, and is content with what it needs: so its size tells how much is in use. */
uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *of, uint64_t pages) {
    static bool refused;
    uint64_t before = of->pages;
    refused = pages == before && !refused;
    if (refused) return (uint64_t)-1;
    if (pages > of->max_pages - before) return (uint64_t)-1;
    if (!libos_want_zero((uint64_t)(of->data + of->size), pages * of->page_size)) return (uint64_t)-1;
    of->pages += pages;
    of->size += pages * of->page_size;
    return before;
}

void wasm_rt_free_memory(wasm_rt_memory_t *of) { (void)of; }

/* ---- imports of the core (core/shim.ts) -------------------------------------------------------------------------- */

u32 w2c_shim_copyIn(struct w2c_shim *shim, u32 to, u64 user, u64 length) {
    (void)shim;
    if (!libos_in_user(user, length) || !in_core(to, length)) return 0;
    return length == 0 || libos_guarded_copy(memory + to, (const void *)user, length);
}

u32 w2c_shim_copyOut(struct w2c_shim *shim, u64 user, u32 from, u64 length) {
    (void)shim;
    if (!libos_in_user(user, length) || !in_core(from, length)) return 0;
    return length == 0 || libos_guarded_copy((void *)user, memory + from, length);
}

u32 w2c_shim_zero(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    return libos_in_user(user, length) && libos_make_zero(user, length);
}

u32 w2c_shim_zeroLazily(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    return libos_in_user(user, length) && libos_want_zero(user, length);
}

void w2c_shim_unwant(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    if (libos_in_user(user, length)) libos_unwant(user, length);
}

u64 w2c_shim_made(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    return libos_in_user(user, length) ? libos_count_pages(user, length) : 0;
}

u64 w2c_shim_madeFrom(struct w2c_shim *shim, u64 user, u64 end) {
    (void)shim;
    return end > user && libos_in_user(user, end - user) ? libos_next_page(user, end, true) : end;
}

u64 w2c_shim_madeTo(struct w2c_shim *shim, u64 user, u64 end) {
    (void)shim;
    return end > user && libos_in_user(user, end - user) ? libos_next_page(user, end, false) : end;
}

u32 w2c_shim_bringCore(struct w2c_shim *shim, u32 at, u64 length) {
    (void)shim;
    return in_core(at, length) && libos_bring((uint64_t)(memory + at), length);
}

u32 w2c_shim_bring(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    if (!libos_in_user(user, length) || !libos_bring(user, length)) return 0;
    libos_lift_range(user, length, true);
    return 1;
}

/* Stacks grow downwards: below some pages that were never used there is nothing. */
#define UNUSED_PAGES 32
u64 w2c_shim_stackUsed(struct w2c_shim *shim, u64 low, u64 from) {
    (void)shim;
    uint64_t used = from;
    if (from < low || !libos_in_user(low, from - low)) return low;
    for (uint64_t at = from; at > low && used - at < UNUSED_PAGES * 4096; at -= 4096) {
        uint64_t page[512];
        if (libos_next_page(at - 4096, at, true) == at) continue;
        if (!libos_guarded_copy(page, (const void *)(at - 4096), sizeof page)) return low;
        for (int i = 0; i < 512; i++)
            if (page[i] != 0) {
                used = at - 4096;
                break;
            }
    }
    return used;
}

u64 w2c_shim_accepted(struct w2c_shim *shim) {
    (void)shim;
    return libos_accepted_pages();
}

u32 w2c_shim_executable(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    return libos_in_user(user, length) && libos_make_executable(user, length);
}

u64 w2c_shim_protect(struct w2c_shim *shim, u64 user, u64 length, u32 protection) {
    (void)shim;
    return libos_in_user(user, length) ? libos_protect(user, length, protection) : 0;
}

/* Copies whatever the protections are. A page that cannot be written stays so if it has the bytes already. */
static bool move_bytes(uint64_t to, uint64_t from, uint64_t length) {
    if (libos_guarded_copy((void *)to, (const void *)from, length)) return true;
    for (uint64_t done = 0, part; done < length; done += part) {
        part = 4096 - (to + done) % 4096;
        if (part > length - done) part = length - done;
        libos_lift_range(from + done, part, false);
        libos_lift_range(to + done, part, false);
        if (libos_guarded_equal((const void *)(to + done), (const void *)(from + done), part)) continue;
        libos_lift_range(to + done, part, true);
        if (!libos_guarded_copy((void *)(to + done), (const void *)(from + done), part)) return false;
    }
    return true;
}

/* Within the program's memory; the ranges do not overlap (mremap to another place). */
u32 w2c_shim_copyUser(struct w2c_shim *shim, u64 to, u64 from, u64 length) {
    (void)shim;
    return libos_in_user(to, length) && libos_in_user(from, length) && move_bytes(to, from, length);
}

u32 w2c_shim_exchange(struct w2c_shim *shim, u64 a, u64 b, u64 length) {
    (void)shim;
    static uint8_t kept[4096]; /* under the lock */
    if (!libos_in_user(a, length) || !libos_in_user(b, length)) return 0;
    for (uint64_t done = 0; done < length; done += sizeof kept) {
        uint64_t part = length - done < sizeof kept ? length - done : sizeof kept;
        if (!move_bytes((uint64_t)kept, a + done, part) || !move_bytes(a + done, b + done, part) ||
            !move_bytes(b + done, (uint64_t)kept, part))
            return 0;
    }
    return 1;
}

u32 w2c_shim_manifest(struct w2c_shim *shim, u32 to, u64 offset, u32 length) {
    (void)shim;
    const struct libos_boot *boot = libos_boot();
    if (offset > boot->manifest_size || length > boot->manifest_size - offset || !in_core(to, length)) return 0;
    memcpy(memory + to, __image_base + boot->manifest_start + offset, length);
    return 1;
}

u64 w2c_shim_now(struct w2c_shim *shim, u32 clock) {
    (void)shim;
    return libos_clock_now(clock);
}

u32 w2c_shim_random(struct w2c_shim *shim, u64 user, u64 length) {
    (void)shim;
    uint8_t block[64];
    for (uint64_t done = 0; done < length; done += sizeof block) {
        uint64_t part = length - done < sizeof block ? length - done : sizeof block;
        nsgx_random(block, part);
        if (!libos_in_user(user + done, part) || !libos_guarded_copy((void *)(user + done), block, part)) return 0;
    }
    return 1;
}

u64 w2c_shim_userStack(struct w2c_shim *shim) {
    (void)shim;
    uint64_t stack;
    __asm__ volatile("movq %%gs:1024, %0" : "=r"(stack));
    return stack;
}

void w2c_shim_setFs(struct w2c_shim *shim, u64 base) {
    (void)shim;
    __asm__ volatile("wrfsbase %0" : : "r"(base));
}

u64 w2c_shim_getFs(struct w2c_shim *shim) {
    (void)shim;
    uint64_t base;
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

/* ---- system calls ----------------------------------------------------------------------------------------------- */

/* The core's memory does not move, but another thread may make it longer: what is copied from it stays within its size. */
static int64_t serve(const struct request *r, nsgx_registers *registers) {
    const uint64_t *a = r->argument;
    switch (r->op) {
        case OP_WRITE:
            return libos_host_write((uint32_t)a[0], a[1], a[2]);
        case OP_READ:
            return libos_host_read((uint32_t)a[0], a[1], a[2]);
        case OP_ROOT:
            if (!in_core(a[2], a[1]) || !in_core(a[3], 32)) return -EIO;
            return libos_host_root(a[0], (uint32_t)a[1], memory + a[2], memory + a[3]);
        case OP_WAIT:
            return libos_host_wait((uint32_t)a[0], (int64_t)a[1]);
        case OP_NOTE:
            if (in_core(a[0], a[1])) libos_host_note((const char *)memory + a[0], a[1]);
            return 0;
        case OP_PARK:
            libos_sleep(libos_slot(), a[0]);
            return 0;
        case OP_YIELD:
            libos_host_yield();
            return 0;
        case OP_RETURN:
            libos_return_pages(a[0], a[1]);
            return 0;
        case OP_PROTECT:
            return libos_restrict(a[0], a[1], (uint32_t)a[2]) ? 0 : -ENOMEM;
        case OP_CLONE:
            /* What the core has to take back when there is no thread: minus one and the slot. */
            if (registers == NULL || !libos_start_thread((uint32_t)a[0], registers, a[2], a[3], NULL)) return -1 - (int64_t)a[0];
            return (int64_t)a[1];
        case OP_FORK:
            if (!in_core(a[4], VECTORS) || a[4] % 64 != 0) libos_die("a process without vectors", a[4]);
            if (registers == NULL || !libos_start_thread((uint32_t)a[0], registers, a[2], a[3], memory + a[4]))
                return -1 - (int64_t)a[0];
            return (int64_t)a[1];
        case OP_STORE_LOAD:
        case OP_STORE_COMMIT:
        case OP_STORE_WRITE:
            return libos_store_serve(r->op, a, memory, core.w2c_memory.size);
        case OP_FILES:
            return libos_serve_files(a, memory, core.w2c_memory.size);
        case OP_ATTEST:
            return libos_attest(a, memory, core.w2c_memory.size);
        case OP_EXIT:
            libos_store_last(memory);
            if (libos_slot() == 0) libos_leave_user((int64_t)a[0]);
            libos_host_exit((int32_t)a[0]);
        case OP_THREAD_EXIT:
            libos_leave_user(0);
        case OP_VFORK:
            if (registers == NULL) libos_die("a child without registers", r->op);
            libos_keep_registers(libos_slot(), registers);
            if (a[0] != 0) registers->rsp = a[0];
            return 0;
        case OP_END_VFORK:
            if (registers == NULL) libos_die("a child without registers", r->op);
            libos_kept_registers(libos_slot(), registers);
            return (int64_t)a[0];
        case OP_EXEC_CHILD: {
            if (registers == NULL) libos_die("a program without registers", r->op);
            const nsgx_registers fresh = {.rip = a[2], .rsp = a[3], .rflags = 0x202};
            libos_kept_registers(libos_slot(), registers);
            return libos_start_thread((uint32_t)a[0], &fresh, 0, 0, NULL) ? (int64_t)a[1] : -1 - (int64_t)a[0];
        }
        case OP_EXEC:
            if (registers == NULL) libos_die("a program without registers", r->op);
            *registers = (nsgx_registers){.rip = a[0], .rsp = a[1], .rflags = 0x202};
            return 0;
        default:
            return libos_serve_io(r->op, a, memory, core.w2c_memory.size);
    }
}

static struct request *request_of(uint32_t slot) { return (struct request *)(memory + request_at[slot]); }

/* With FS as the runtime has it, and the program's vectors kept; a process that comes of this one begins with them. */
static int64_t serve_outside(const struct request *request, nsgx_registers *registers) {
    uint8_t vectors[VECTORS] __attribute__((aligned(64)));
    uint64_t program_fs, own_fs;
    __asm__ volatile("rdfsbase %0" : "=r"(program_fs));
    __asm__ volatile("movq %%gs:0, %0" : "=r"(own_fs));
    memset(vectors + 512, 0, 64);
    libos_save_vectors(vectors);
    __asm__ volatile("wrfsbase %0" : : "r"(own_fs));
    if (request->op == OP_FORK && in_core(request->argument[4], VECTORS)) memcpy(memory + request->argument[4], vectors, VECTORS);
    int64_t result = serve(request, registers);
    if (request->op == OP_EXEC) {
        /* A program begins without thread data, and with its vector registers as they are after a reset. */
        program_fs = 0;
        memset(vectors + 512, 0, 8);
        memcpy(vectors + 24, (const uint32_t[]){0x1f80}, 4);
    }
    __asm__ volatile("wrfsbase %0" : : "r"(program_fs));
    libos_restore_vectors(vectors);
    return result;
}

/* Does what a call of the thread needs done outside, as often as the core wants it, without the lock. Requests to a channel
 * leave the registers alone unless they have to leave the enclave. */
static int64_t outside(uint32_t slot, nsgx_registers *registers) {
    int64_t result = PENDING;
    while (result == PENDING) {
        struct request request;
        memcpy(&request, request_of(slot), sizeof request);
        libos_unlock();
        int64_t served = libos_by_channel(request.op) ? libos_serve_io(request.op, request.argument, memory, core.w2c_memory.size)
                                                      : serve_outside(&request, registers);
        libos_lock();
        result = (int64_t)w2c_core_complete(&core, slot, (u64)served);
    }
    return result;
}

w2c_core *libos_core(void) { return &core; }

/* A thread that was started waits until its process has its place; false when it is to end before it has begun. */
bool libos_begin(uint32_t slot) {
    libos_lock();
    int64_t result = (int64_t)w2c_core_begin(&core, slot);
    while (result == PENDING) {
        struct request request;
        memcpy(&request, request_of(slot), sizeof request);
        libos_unlock();
        if (request.op == OP_THREAD_EXIT) return false;
        int64_t served = serve_outside(&request, NULL);
        libos_lock();
        result = (int64_t)w2c_core_complete(&core, slot, (u64)served);
    }
    libos_unlock();
    return true;
}

/* The calling thread of a program lets another process have its place. */
void libos_yield_place(uint64_t stack) {
    uint32_t slot = libos_slot();
    libos_lock();
    if ((int64_t)w2c_core_yieldPlace(&core, slot, stack) == PENDING) outside(slot, NULL);
    libos_unlock();
}

const uint64_t *libos_request(void) { return (const uint64_t *)request_of(libos_slot()); }

bool libos_signal_waits_for(uint32_t slot) {
    return libos_thread_is_known(slot) && ((volatile const uint64_t *)request_of(slot))[7] != 0;
}

bool libos_signal_waits(void) { return ((volatile const uint64_t *)libos_request())[7] != 0; }

static int64_t dispatch(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                        nsgx_registers *registers) {
    uint32_t slot = libos_slot();
    libos_lock();
    int64_t result = (int64_t)w2c_core_syscall(&core, slot, number, a, b, c, d, e, f);
    if (__builtin_expect(result == PENDING, 0)) result = outside(slot, registers);
    libos_unlock();
    return result;
}

int64_t libos_dispatch(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    int64_t result;
    if (!libos_clock_call(number, a, b, &result)) result = dispatch(number, a, b, c, d, e, f, NULL);
    if (__builtin_expect(libos_signal_waits(), 0)) __asm__ volatile("movl $1, %%gs:1040" : : : "memory");
    return result;
}

void libos_dispatch_full(nsgx_registers *r) {
    r->rax = (uint64_t)dispatch((uint32_t)r->rax, r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9, r);
}

_Noreturn void libos_end(uint32_t signal) {
    uint32_t slot = libos_slot();
    struct request request;
    nsgx_registers registers;
    uint64_t program_fs, own_fs;
    libos_lock();
    w2c_core_end(&core, slot, signal);
    memcpy(&request, request_of(slot), sizeof request);
    libos_unlock();
    __asm__ volatile("rdfsbase %0" : "=r"(program_fs));
    __asm__ volatile("movq %%gs:0, %0" : "=r"(own_fs));
    __asm__ volatile("wrfsbase %0" : : "r"(own_fs));
    /* Only the end of a child that shares its parent's thread comes back. */
    registers.rax = (uint64_t)serve(&request, &registers);
    __asm__ volatile("movl $0, %%gs:112" : : : "memory"); /* no exception is being handled any more */
    __asm__ volatile("wrfsbase %0" : : "r"(program_fs));
    libos_resume(&registers);
}

/* The slot's request is known from its thread's first moment on. */
void libos_thread_known(uint32_t slot) {
    libos_lock();
    request_at[slot] = w2c_core_requestAt(&core, slot);
    if (!in_core(request_at[slot], 128)) libos_die("the core has no request", request_at[slot]);
    libos_unlock();
}

bool libos_thread_is_known(uint32_t slot) { return request_at[slot] != 0; }

void libos_kernel_start(const struct libos_host *host) {
    const struct libos_boot *boot = libos_boot();
    uint64_t base = (uint64_t)__image_base;
    wasm2c_core_instantiate(&core, NULL);
    const struct libos_places *places = libos_places();
    w2c_core_start(&core, base, base + places->arena_start, places->arena_size, base + boot->stack_start, boot->stack_size,
                   boot->manifest_size, boot->core_size, boot->flags, host->kind[0] | host->kind[1] << 8 | host->kind[2] << 16,
                   host->rows << 16 | host->columns);
    libos_thread_known(0);
    w2c_core_cpus(&core, host->cpus);
    libos_attend_start(memory);
}

bool libos_kernel_mount(void) { return libos_store_start(memory); }

_Noreturn void libos_die(const char *why, uint64_t number) {
    char text[128];
    size_t length = 0;
    for (; why[length] != 0 && length < 90; length++) text[length] = why[length];
    text[length++] = ' ';
    char digits[20];
    int count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (count > 0) text[length++] = digits[--count];
    uint64_t own_fs;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(own_fs));
    __asm__ volatile("wrfsbase %0" : : "r"(own_fs));
    libos_host_note(text, length);
    nsgx_abort();
}
