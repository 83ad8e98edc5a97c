/* Exceptions inside the enclave (#DE, #BP, #UD, and with MISCSELECT.EXINFO #GP and #PF). A handler runs in the
 * interrupted thread, like a signal handler: it must not take locks that the interrupted code may hold, which includes
 * the allocator's. The host chooses whether the enclave learns of an exception at all. */
#ifndef NSGX_EXCEPTION_H
#define NSGX_EXCEPTION_H

#include <stdbool.h>
#include <stdint.h>

#define NSGX_VECTOR_DE 0
#define NSGX_VECTOR_DB 1
#define NSGX_VECTOR_BP 3
#define NSGX_VECTOR_BR 5
#define NSGX_VECTOR_UD 6
#define NSGX_VECTOR_GP 13
#define NSGX_VECTOR_PF 14
#define NSGX_VECTOR_MF 16
#define NSGX_VECTOR_AC 17
#define NSGX_VECTOR_XM 19

/* Registers in the order of the SSA's GPRSGX. */
typedef struct nsgx_registers {
    uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags, rip;
} nsgx_registers;

typedef struct __attribute__((aligned(64))) nsgx_exception {
    nsgx_registers registers; /* may be changed: execution goes on from here */
    uint32_t vector;
    uint32_t type;            /* EXITINFO.TYPE: 3 hardware, 6 software */
    uint32_t error_code;      /* of #GP and #PF, when EXINFO was saved */
    uint32_t has_address;     /* whether error_code and address are valid */
    uint64_t address;
    uint64_t reserved[11];
    uint8_t xstate[3904];     /* XSAVE image of the interrupted code */
} nsgx_exception;

typedef enum nsgx_handled { NSGX_PASS = 0, NSGX_CONTINUE = 1 } nsgx_handled;
typedef nsgx_handled (*nsgx_exception_handler)(nsgx_exception *exception);

/* Adds a handler (at most 8; the latest is asked first). NSGX_CONTINUE goes on with `registers`: RIP must lie in the
 * enclave and RSP must not be below where it was. If all pass, the enclave aborts. False when the table is full. */
bool nsgx_on_exception(nsgx_exception_handler handler);

/* A policy hook for enclaves that run code on stacks of its own (a library OS): asked in phase one, at CSSA 1, with the
 * interrupted registers. NULL is the rule above. Otherwise the record goes where it says, which must be a 64-byte
 * aligned place on the thread's own stack, and phase two starts at `*resume` with RDI = RSP = the record; it ends with
 * nsgx_exception_continue(record), or never. */
nsgx_exception *nsgx_exception_divert(const nsgx_registers *interrupted, uint64_t *resume);

/* The same for an interrupt that the host offers, which it may do at any time: NULL, the default, goes on where the thread
 * was. The record has no vector. */
nsgx_exception *nsgx_interrupt_divert(const nsgx_registers *interrupted, uint64_t *resume);

_Noreturn void nsgx_exception_continue(const nsgx_exception *exception);

#endif
