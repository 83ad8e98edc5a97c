/* Exceptions of the program and of copies to and from its memory. A SYSCALL that was not rewritten arrives here as #UD,
 * and so does CPUID, which is illegal in an enclave. */
#include "libos.h"
#include "nsgx_exception.h"
#include "pages.h"
#include "task.h"

#define SYSCALL_OPCODE 0x050f
#define CPUID_OPCODE 0xa20f
#define SYS_RT_SIGRETURN 15
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_EXECUTE 16u
#define PF_SGX 0x8000u
#define SIGILL 4
#define SIGTRAP 5
#define SIGFPE 8
#define SIGSEGV 11

bool libos_signal_fault(nsgx_exception *exception, uint32_t signal);
void libos_signals(nsgx_registers *registers, uint32_t number);
void libos_signal_return(nsgx_registers *registers);

static void set_low(uint64_t *to, uint32_t value) { *to = value; }

static bool emulate(nsgx_exception *exception) {
    nsgx_registers *r = &exception->registers;
    uint16_t opcode;
    if (exception->vector != NSGX_VECTOR_UD || !libos_in_user(r->rip, 2) ||
        !libos_guarded_copy(&opcode, (const void *)r->rip, 2))
        return false;
    if (opcode == SYSCALL_OPCODE) {
        r->rip += 2;
        r->rcx = r->rip;
        r->r11 = r->rflags;
        /* The vectors of the program are in the record; they are put back for calls that take and give them. */
        libos_restore_vectors(exception->xstate);
        if ((uint32_t)r->rax == SYS_RT_SIGRETURN) {
            libos_signal_return(r);
        } else {
            uint32_t number = (uint32_t)r->rax;
            __asm__ volatile("movq %0, %%gs:1024" : : "r"(r->rsp) : "memory");
            libos_dispatch_full(r);
            if (libos_signal_waits()) libos_signals(r, number);
        }
        libos_save_vectors(exception->xstate);
        return true;
    }
    if (opcode == CPUID_OPCODE) {
        uint32_t out[4];
        libos_cpuid((uint32_t)r->rax, (uint32_t)r->rcx, out);
        set_low(&r->rax, out[0]);
        set_low(&r->rbx, out[1]);
        set_low(&r->rcx, out[2]);
        set_low(&r->rdx, out[3]);
        r->rip += 2;
        return true;
    }
    return false;
}

/* Memory that comes when it is used, by something else than execution. */
static bool first_use(const nsgx_exception *exception) {
    return exception->vector == NSGX_VECTOR_PF && exception->has_address && (exception->error_code & PF_EXECUTE) == 0 &&
           libos_page_wanted(exception->address, (exception->error_code & PF_WRITE) != 0,
                             (exception->error_code & (PF_PRESENT | PF_SGX)) == 0);
}

_Static_assert(offsetof(nsgx_exception, registers) == 0 && offsetof(nsgx_exception, xstate) == 256, "entry.S");

/* Called by entry.S with the record at the top of the thread's own stack; returns when the program goes on. */
void libos_user_exception(nsgx_exception *exception);
void libos_user_exception(nsgx_exception *exception) {
    if (emulate(exception) || first_use(exception)) return;
    static const uint8_t signals[32] = {SIGFPE, SIGTRAP, 0, SIGTRAP, 0, SIGSEGV, SIGILL, 0, 0, 0, 0, 0, 0,
                                        SIGSEGV, SIGSEGV, 0, SIGFPE, 7, 0, SIGFPE};
    uint32_t signal = exception->vector < 32 ? signals[exception->vector] : 0;
    if (signal == 0) signal = SIGILL;
    if (libos_signal_fault(exception, signal)) return;
    libos_end(signal);
}

/* ENCLU, and what comes before it in the runtime's functions of these leaves (entry.S). */
#define ENCLU_BYTES 3u
#define BEFORE_ENCLU 12u
/* So often in a row a leaf is tried again. */
#define ATTEMPTS 4096u

/*
 * A leaf that accepts a page finds none: it is tried again, for the host brings the page with one of the next faults. Nothing
 * is looked for here: the thread holds the lock of the pages. What never comes makes the leaf fail.
 */
static bool accepting(nsgx_exception *exception) {
    static uint64_t page, times;
    uint64_t at = exception->registers.rip;
    if (exception->vector != NSGX_VECTOR_PF || (at != (uint64_t)libos_leaf_eaccept_range_enclu &&
                                                at != (uint64_t)nsgx_leaf_eaccept + BEFORE_ENCLU &&
                                                at != (uint64_t)nsgx_leaf_eacceptcopy + BEFORE_ENCLU))
        return false;
    times = exception->address == page ? times + 1 : 0;
    page = exception->address;
    if (times < ATTEMPTS) return true;
    times = 0;
    exception->registers.rip += ENCLU_BYTES;
    exception->registers.rax = LIBOS_NO_PAGE;
    return true;
}

/* Memory of the core or a program that comes now; or a copy to or from memory that the program does not have. */
static nsgx_handled guard(nsgx_exception *exception) {
    uint64_t at = exception->registers.rip;
    if (at == (uint64_t)libos_leaf_eaccept_range_enclu && exception->vector == NSGX_VECTOR_GP) {
        exception->registers.rip += 3;
        exception->registers.rax = LIBOS_NO_LEAF;
        return NSGX_CONTINUE;
    }
    if (accepting(exception) || first_use(exception)) return NSGX_CONTINUE;
    if (at < (uint64_t)libos_guard_start || at >= (uint64_t)libos_guard_end) return NSGX_PASS;
    exception->registers.rip = (uint64_t)libos_guard_fail;
    return NSGX_CONTINUE;
}

void libos_exceptions_start(void) { nsgx_on_exception(guard); }

/* Programs have stacks of their own: the record of what they do goes to the thread's. */
nsgx_exception *nsgx_exception_divert(const nsgx_registers *interrupted, uint64_t *resume) {
    if (!libos_in_user(interrupted->rip, 1)) return NULL;
    uint64_t top;
    __asm__("movq %%gs:1032, %0" : "=r"(top));
    *resume = (uint64_t)libos_user_exception_resumed;
    return (nsgx_exception *)((top - sizeof(nsgx_exception)) & ~63ull);
}
