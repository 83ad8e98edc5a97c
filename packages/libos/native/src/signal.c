/* Delivery of signals: the frame on the program's stack as Linux lays it out (struct rt_sigframe of
 * arch/x86/include/asm/sigframe.h, struct ucontext and struct sigcontext of uapi), and the way back. */
#include "core.h"
#include "libos.h"
#include "nsgx_exception.h"
#include "task.h"

#define RED_ZONE 128
#define SA_SIGINFO 4u
#define SA_RESTORER 0x04000000u
#define UC_FP_XSTATE 1u
#define FP_XSTATE_MAGIC1 0x46505853u
#define FP_XSTATE_MAGIC2 0x46505845u
#define XSTATE_BYTES 2816 /* of the standard format with AVX-512, rounded up */
#define SIGSEGV 11
#define USER_FLAGS 0x240dd5ull /* what a frame may set: arithmetic flags, DF, TF not, AC, ID */
#define FIXED_FLAGS 0x202ull

/* uc_mcontext.gregs */
enum { R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, EFL, CSGSFS, ERR, TRAPNO, OLDMASK, CR2 };

struct frame {
    uint64_t restorer;
    uint64_t flags, link, stack[3];
    uint64_t gregs[23];
    uint64_t fpstate, reserved[8];
    uint64_t mask;
    uint32_t info[32];
};
_Static_assert(offsetof(struct frame, mask) == 8 + 296, "struct ucontext");
_Static_assert(sizeof(struct frame) == 8 + 304 + 128, "struct rt_sigframe");

#define EINTR 4
#define GIVE_WAY 1000 /* core/signals.ts */
#define SI_KERNEL 0x80u

extern w2c_core *libos_core(void);

/* The program ends where its stack has no room for a frame, as on Linux. */
static _Noreturn void no_room(void) { libos_end(SIGSEGV); }

static void save(struct frame *frame, const nsgx_registers *r) {
    uint64_t *g = frame->gregs;
    g[R8] = r->r8, g[R9] = r->r9, g[R10] = r->r10, g[R11] = r->r11, g[R12] = r->r12, g[R13] = r->r13, g[R14] = r->r14;
    g[R15] = r->r15, g[RDI] = r->rdi, g[RSI] = r->rsi, g[RBP] = r->rbp, g[RBX] = r->rbx, g[RDX] = r->rdx, g[RAX] = r->rax;
    g[RCX] = r->rcx, g[RSP] = r->rsp, g[RIP] = r->rip, g[EFL] = r->rflags, g[CSGSFS] = 0x002b000000000033ull;
}

static void restore(nsgx_registers *r, const uint64_t *g) {
    r->r8 = g[R8], r->r9 = g[R9], r->r10 = g[R10], r->r11 = g[R11], r->r12 = g[R12], r->r13 = g[R13], r->r14 = g[R14];
    r->r15 = g[R15], r->rdi = g[RDI], r->rsi = g[RSI], r->rbp = g[RBP], r->rbx = g[RBX], r->rdx = g[RDX], r->rax = g[RAX];
    r->rcx = g[RCX], r->rsp = g[RSP], r->rip = g[RIP], r->rflags = (g[EFL] & USER_FLAGS) | FIXED_FLAGS;
}

/* FPE_* of unmasked exceptions: the bits of MXCSR and of the x87 status word are the same. */
static uint32_t floating_code(uint32_t raised) {
    static const struct {
        uint32_t bits, code;
    } codes[] = {{1, 7}, {4, 3}, {8, 4}, {0x12, 5}, {0x20, 6}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (raised & codes[i].bits) return codes[i].code;
    return 0;
}

/* si_code and si_addr of an exception (arch/x86/kernel/traps.c). */
static void describe(const nsgx_exception *e, bool mapped, struct frame *frame) {
    uint64_t address = e->registers.rip;
    uint32_t code = SI_KERNEL, control;
    uint16_t masks, status;
    memcpy(&control, e->xstate + 24, 4);
    memcpy(&masks, e->xstate, 2);
    memcpy(&status, e->xstate + 2, 2);
    switch (e->vector) {
        case 0: /* FPE_INTDIV */
        case 1: /* TRAP_BRKPT */
        case 17: /* BUS_ADRALN */
            code = 1;
            break;
        case NSGX_VECTOR_UD: /* ILL_ILLOPN */
            code = 2;
            break;
        case NSGX_VECTOR_PF: /* SEGV_ACCERR, SEGV_MAPERR */
            code = mapped ? 2 : 1;
            address = e->has_address ? e->address : 0;
            break;
        case 16:
            code = floating_code(status & ~masks & 0x3f);
            break;
        case 19:
            code = floating_code(control & ~(control >> 7) & 0x3f);
            break;
        default:
            address = 0;
    }
    frame->info[2] = code;
    memcpy(&frame->info[4], &address, 8);
    frame->gregs[CR2] = e->vector == NSGX_VECTOR_PF ? address : 0;
    frame->gregs[TRAPNO] = e->vector;
    frame->gregs[ERR] = e->error_code;
}

/* Makes the registers those of a handler's first instruction. `taken` is what takeSignal or takeFault said, `exception` what
 * a fault came from, in memory that the program has if `mapped`. */
static void enter(nsgx_registers *r, int32_t taken, const uint8_t *vectors, const nsgx_exception *exception, bool mapped) {
    struct frame frame;
    const uint64_t *request = libos_request();
    uint64_t handler = request[0], flags = request[1], top = request[4];
    libos_fill(&frame, 0, sizeof frame);
    save(&frame, r);
    frame.restorer = request[2];
    frame.flags = UC_FP_XSTATE | 6; /* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
    frame.mask = request[3];
    memcpy(frame.stack, &request[12], sizeof frame.stack);
    frame.info[0] = (uint32_t)taken;
    if (exception != NULL) {
        describe(exception, mapped, &frame);
    } else {
        frame.info[2] = (uint32_t)request[9];         /* si_code */
        frame.info[4] = (uint32_t)(request[9] >> 32); /* who sent it */
        frame.info[5] = (uint32_t)request[11];
        memcpy(&frame.info[6], &request[10], 8);      /* si_value */
    }
    uint64_t stack = top != 0 ? top : r->rsp - RED_ZONE;
    uint64_t floating = (stack - XSTATE_BYTES - 4) & ~63ull;
    uint64_t at = ((floating - sizeof frame) & ~15ull) - 8;
    frame.fpstate = floating;
    /* The legacy area tells how much extended state follows (struct _fpx_sw_bytes). */
    uint8_t image[XSTATE_BYTES + 4];
    memcpy(image, vectors, XSTATE_BYTES);
    uint32_t words[5] = {FP_XSTATE_MAGIC1, XSTATE_BYTES + 4, 0xe7, 0, XSTATE_BYTES};
    uint32_t last = FP_XSTATE_MAGIC2;
    memcpy(image + 464, words, sizeof words);
    memcpy(image + XSTATE_BYTES, &last, 4);
    if (!libos_in_user(at, stack - at) || !libos_guarded_copy((void *)floating, image, sizeof image) ||
        !libos_guarded_copy((void *)at, &frame, sizeof frame))
        no_room();
    if (!(flags & SA_RESTORER)) no_room();
    r->rip = handler;
    r->rsp = at;
    r->rdi = (uint64_t)taken;
    r->rsi = at + offsetof(struct frame, info);
    r->rdx = at + 8;
    r->rax = 0;
    r->rflags = FIXED_FLAGS;
}

/* After a system call, with all registers of the program: delivers what waits. An interrupted call that is to be made again is
 * so behind the handler: it returns to the entry for system calls. */
void libos_signals(nsgx_registers *registers, uint32_t number);
void libos_signals(nsgx_registers *registers, uint32_t number) {
    uint8_t xstate[4096] __attribute__((aligned(64)));
    uint32_t slot = libos_slot();
    for (;;) {
        libos_lock();
        int32_t taken = (int32_t)w2c_core_signal(libos_core(), slot, registers->rsp);
        libos_unlock();
        if (taken == GIVE_WAY) {
            libos_yield_place(registers->rsp);
            continue;
        }
        if (taken < 0) libos_end((uint32_t)-taken);
        if (libos_request()[8] != 0 && registers->rax == (uint64_t)-EINTR) {
            registers->rcx = registers->rip;
            registers->rip = (uint64_t)libos_syscall;
            registers->rax = number;
        }
        if (taken == 0) return;
        memset(xstate + 512, 0, 64);
        libos_save_vectors(xstate);
        enter(registers, taken, xstate, NULL, false);
    }
}

/* An exception of the program: true when a handler takes it. */
bool libos_signal_fault(nsgx_exception *exception, uint32_t signal);
bool libos_signal_fault(nsgx_exception *exception, uint32_t signal) {
    libos_lock();
    int32_t taken = (int32_t)w2c_core_fault(libos_core(), libos_slot(), signal, exception->registers.rsp);
    bool mapped = exception->has_address && w2c_core_hasMemory(libos_core(), libos_slot(), exception->address);
    libos_unlock();
    if (taken < 0) return false;
    enter(&exception->registers, taken, exception->xstate, exception, mapped);
    return true;
}

/* rt_sigreturn: registers and extended state of the frame that RSP points behind the first word of. */
void libos_signal_return(nsgx_registers *registers);
void libos_signal_return(nsgx_registers *registers) {
    struct frame frame;
    uint64_t at = registers->rsp - 8;
    if (!libos_in_user(at, sizeof frame) || !libos_guarded_copy(&frame, (const void *)at, sizeof frame)) no_room();
    if (frame.fpstate != 0) {
        uint8_t xstate[4096] __attribute__((aligned(64)));
        if (!libos_in_user(frame.fpstate, XSTATE_BYTES) ||
            !libos_guarded_copy(xstate, (const void *)frame.fpstate, XSTATE_BYTES))
            no_room();
        /* What XRSTOR would refuse is not left in: unknown components, a compacted format, reserved bits of MXCSR. */
        uint64_t header[8] = {0};
        uint32_t low, high, control;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        memcpy(header, xstate + 512, 8);
        header[0] &= ((uint64_t)high << 32 | low) & 0xe7;
        memcpy(xstate + 512, header, sizeof header);
        memcpy(&control, xstate + 24, 4);
        control &= 0xffff;
        memcpy(xstate + 24, &control, 4);
        libos_restore_vectors(xstate);
    }
    restore(registers, frame.gregs);
    libos_lock();
    w2c_core_mask(libos_core(), libos_slot(), frame.mask, frame.stack[0], (uint32_t)frame.stack[1], frame.stack[2]);
    libos_unlock();
}
