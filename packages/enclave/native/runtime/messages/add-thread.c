/* Threads that are added at run time: the enclave accepts new pages for one more thread behind those of the image, fills
 * them as the tool chain fills the others, and accepts the TCS once the host has made it one. */
#include "runtime.h"

#define PAGE 4096ull
#define TCS_LIMIT 4095u

/* The part of a TCS that is not zero. */
struct tcs {
    uint64_t state, flags, ossa;
    uint32_t cssa, nssa;
    uint64_t oentry, aep, ofsbase, ogsbase;
    uint32_t fslimit, gslimit;
};
_Static_assert(sizeof(struct tcs) == 72, "TCS");

static nsgx_lock lock;
static uint64_t added;
/* Page that waits to become a TCS; 0 for none. */
static uint64_t waiting;

/* Accepts new pages between two offsets from the base. */
static bool accept(uint64_t from, uint64_t to) {
    return nsgx_accept(__image_base + from, (to - from) / PAGE, NSGX_PAGE_NEW) == 0;
}

static bool prepare(uint64_t index, uint64_t answer[3]) {
    const struct thread_data *first = (const struct thread_data *)(__image_base + nsgx_layout.first_thread);
    uint64_t move = index * nsgx_layout.thread_stride;
    uint64_t data = nsgx_layout.first_thread + move;
    uint64_t locals = data - ((nsgx_layout.locals_size + PAGE - 1) & ~(PAGE - 1));
    uint64_t ssa = first->ssa + move, tcs_page = data + PAGE;
    /* Behind the stack lies a guard page, then the stack of exceptions, which another one ends. */
    if (!accept(first->stack_low + move, first->stack_top + move) ||
        !accept(first->stack_top + move + PAGE, first->exception_stack + move) || !accept(ssa, tcs_page + PAGE))
        return false;
    if (locals != ssa + nsgx_layout.ssa_frames * PAGE) nsgx_abort();
    memcpy(__image_base + data - nsgx_layout.locals_size, __image_base + nsgx_layout.locals_image,
           nsgx_layout.locals_image_size);
    struct thread_data *thread = (struct thread_data *)(__image_base + data);
    thread->next_stack = thread->stack_top = first->stack_top + move;
    thread->stack_low = first->stack_low + move;
    thread->exception_stack = first->exception_stack + move;
    thread->ssa = ssa;
    thread->index = (uint32_t)index;
    struct tcs *tcs = (struct tcs *)(__image_base + tcs_page);
    tcs->ossa = ssa;
    tcs->nssa = (uint32_t)nsgx_layout.ssa_frames;
    tcs->oentry = nsgx_layout.entry;
    tcs->ofsbase = tcs->ogsbase = data;
    tcs->fslimit = tcs->gslimit = TCS_LIMIT;
    answer[0] = tcs_page;
    answer[1] = ssa;
    answer[2] = nsgx_layout.ssa_frames;
    return true;
}

/* Response: u64 offset of the page that shall become a TCS, u64 OSSA, u64 NSSA. */
uint64_t nsgx_command_add_thread(nsgx_reader *request, nsgx_writer *response) {
    (void)request;
    uint64_t answer[3], status = NSGX_OUT_OF_MEMORY;
    nsgx_lock_acquire(&lock);
    uint64_t index = nsgx_layout.thread_count + added;
    if (waiting != 0) {
        status = NSGX_BUSY;
    } else if (index < nsgx_layout.thread_limit && prepare(index, answer)) {
        waiting = answer[0];
        status = NSGX_OK;
    }
    nsgx_lock_release(&lock);
    if (status == NSGX_OK) nsgx_write_raw(response, answer, sizeof answer);
    return status;
}

uint64_t nsgx_command_accept_thread(nsgx_reader *request, nsgx_writer *response) {
    (void)request;
    (void)response;
    uint64_t status = NSGX_INVALID_ARGUMENT;
    nsgx_lock_acquire(&lock);
    if (waiting != 0 && nsgx_accept(__image_base + waiting, 1, NSGX_PAGE_TCS | NSGX_PAGE_MODIFIED) == 0) {
        waiting = 0;
        added++;
        status = NSGX_OK;
    }
    nsgx_lock_release(&lock);
    return status;
}
