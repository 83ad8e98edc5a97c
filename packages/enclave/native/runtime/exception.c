/* Exceptions in two phases, as SGX demands: at CSSA 1 the interrupted registers are taken from SSA[0] onto the thread's
 * own stack and SSA[0] is made to resume in the second phase; ERESUME then runs the handlers at CSSA 0. The host decides
 * when phase one runs, so it believes nothing but the SSA, and refuses wherever the interrupted registers are partly the
 * host's (the entry and exit code), where the stack is not the thread's, or where no room is left. */
#include "runtime.h"

#define MAX_HANDLERS 8
#define MAX_NESTED 4
#define RED_ZONE 128
#define CONTINUE_FRAME 32 /* return address and flags, kept by nsgx_exception_continue below the red zone */
#define HANDLER_ROOM 4096
#define EXITINFO_VALID 0x80000000u
#define EXITINFO_OFFSET 160
#define SAFE_FLAGS 0xcd5ull /* arithmetic flags and DF */
#define FLAGS_FIXED 0x202ull
#define FLAGS_AC 0x40000ull

_Static_assert(offsetof(nsgx_exception, vector) == 144, "entry.S");
_Static_assert(offsetof(nsgx_exception, xstate) == 256, "entry.S");
_Static_assert(sizeof(nsgx_registers) == 144, "GPRSGX");
_Static_assert(sizeof(((nsgx_exception *)0)->xstate) >= EXINFO_OFFSET, "XSAVE image of one frame");

static nsgx_exception_handler handlers[MAX_HANDLERS];
static uint32_t handler_count;
static nsgx_lock handler_lock;

bool nsgx_on_exception(nsgx_exception_handler handler) {
    nsgx_lock_acquire(&handler_lock);
    bool room = handler_count < MAX_HANDLERS;
    if (room) {
        handlers[handler_count] = handler;
        __atomic_store_n(&handler_count, handler_count + 1, __ATOMIC_RELEASE);
    }
    nsgx_lock_release(&handler_lock);
    return room;
}

uint64_t nsgx_exception_offered(void) {
    if (nsgx_state != STATE_READY) return nsgx_state >= STATE_CRASHED ? nsgx_host_codes.crashed : nsgx_host_codes.no_exception;
    struct thread_data *thread = nsgx_thread();
    uint8_t *frame = __image_base + thread->ssa;
    nsgx_registers *interrupted = (nsgx_registers *)(frame + GPRSGX_OFFSET);
    uint32_t *exit_info = (uint32_t *)(frame + GPRSGX_OFFSET + EXITINFO_OFFSET);
    bool interrupt = (*exit_info & EXITINFO_VALID) == 0;
    if (interrupted->rip >= (uint64_t)nsgx_entry && interrupted->rip < (uint64_t)nsgx_entry_end)
        return nsgx_host_codes.no_exception;
    uint64_t resume = (uint64_t)nsgx_exception_resumed;
    nsgx_exception *record;
    if (interrupt) {
        record = thread->exceptions >= MAX_NESTED ? NULL : nsgx_interrupt_divert(interrupted, &resume);
        if (record == NULL) return nsgx_host_codes.no_exception;
    } else if (handler_count == 0) {
        nsgx_state = STATE_CRASHED;
        return nsgx_host_codes.crashed;
    } else {
        record = nsgx_exception_divert(interrupted, &resume);
    }
    uint64_t low = (uint64_t)__image_base + thread->stack_low;
    uint64_t top = (uint64_t)__image_base + thread->stack_top;
    uint64_t stack = record == NULL ? interrupted->rsp : (uint64_t)(record + 1) + RED_ZONE + CONTINUE_FRAME;
    uint64_t need = RED_ZONE + CONTINUE_FRAME + sizeof(nsgx_exception) + 64 + HANDLER_ROOM;
    if (stack > top || stack < low + need || thread->exceptions >= MAX_NESTED) {
        nsgx_state = STATE_CRASHED;
        return nsgx_host_codes.crashed;
    }
    if (record == NULL)
        record = (nsgx_exception *)((stack - RED_ZONE - CONTINUE_FRAME - sizeof(nsgx_exception)) & ~63ull);
    memset(record, 0, sizeof *record);
    record->registers = *interrupted;
    if (!interrupt) {
        record->vector = *exit_info & 0xff;
        record->type = (*exit_info >> 8) & 7;
    }
    if (!interrupt && (record->vector == NSGX_VECTOR_PF || record->vector == NSGX_VECTOR_GP)) {
        record->has_address = 1;
        memcpy(&record->address, frame + EXINFO_OFFSET, 8);
        memcpy(&record->error_code, frame + EXINFO_OFFSET + 8, 4);
    }
    memcpy(record->xstate, frame, EXINFO_OFFSET);
    thread->exceptions++;
    *exit_info = 0;
    interrupted->rip = resume;
    interrupted->rsp = (uint64_t)record;
    interrupted->rdi = (uint64_t)record;
    interrupted->rflags = FLAGS_FIXED;
    return 0;
}

_Noreturn void nsgx_exception_handle(nsgx_exception *exception) {
    uint64_t stack = exception->registers.rsp;
    uint64_t flags = exception->registers.rflags & FLAGS_AC;
    for (uint32_t i = __atomic_load_n(&handler_count, __ATOMIC_ACQUIRE); i > 0; i--) {
        if (handlers[i - 1](exception) != NSGX_CONTINUE) continue;
        uint64_t top = (uint64_t)__image_base + nsgx_thread()->stack_top;
        if (exception->registers.rsp < stack || exception->registers.rsp > top ||
            !nsgx_is_inside((const void *)exception->registers.rip, 1))
            nsgx_abort();
        exception->registers.rflags = (exception->registers.rflags & SAFE_FLAGS) | flags | FLAGS_FIXED;
        nsgx_exception_continue(exception);
    }
    nsgx_abort();
}
