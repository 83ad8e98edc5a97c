/* Memory, threads, exceptions. */
#include <stdlib.h>

#include "marshal_t.h"

/* Takes and fills blocks; what is in use afterwards is what was before. */
size_t ecall_memory(size_t n, int rounds) {
    size_t before = nsgx_heap_used();
    for (int i = 0; i < rounds; i++) {
        uint8_t *block = malloc(n);
        if (block == NULL) return SIZE_MAX;
        memset(block, i, n);
        free(block);
    }
    return nsgx_heap_used() - before;
}

extern const uint8_t divide_instruction[], divide_end[];

/* A division that cannot be done gives -1. */
static nsgx_handled on_divide(nsgx_exception *exception) {
    if (exception->vector != NSGX_VECTOR_DE || exception->registers.rip != (uint64_t)divide_instruction)
        return NSGX_PASS;
    exception->registers.rax = UINT32_MAX;
    exception->registers.rip = (uint64_t)divide_end;
    return NSGX_CONTINUE;
}

int ecall_divide(int a, int b) {
    static uint32_t ready;
    if (__atomic_exchange_n(&ready, 1, __ATOMIC_ACQ_REL) == 0) nsgx_on_exception(on_divide);
    int quotient = a, high = a < 0 ? -1 : 0;
    __asm__ volatile(
        ".globl divide_instruction, divide_end\n"
        ".hidden divide_instruction, divide_end\n"
        "divide_instruction: idivl %2\n"
        "divide_end:\n"
        : "+a"(quotient), "+d"(high)
        : "r"(b)
        : "cc");
    return quotient;
}

int ecall_on_thread(void) { return (int)nsgx_thread_index(); }

/* A thread's own variable, with a first value. */
int ecall_local(int add) {
    static _Thread_local int own = 100;
    own += add;
    return own;
}

static const void *volatile waiting;
static volatile uint32_t woken;

/* Sleeps outside until ecall_wake; gives how often a wake-up was seen. */
uint64_t ecall_wait(void) {
    static _Thread_local char self;
    int result = -1;
    uint32_t seen = woken;
    waiting = &self;
    while (woken == seen)
        if (sgx_thread_wait_untrusted_event_ocall(&result, &self) != SGX_SUCCESS || result != 0) return UINT64_MAX;
    return woken;
}

/* 0 when nobody waits. */
int ecall_wake(void) {
    const void *self = waiting;
    int result = -1;
    if (self == NULL) return 0;
    waiting = NULL;
    woken++;
    return sgx_thread_set_untrusted_event_ocall(&result, self) == SGX_SUCCESS && result == 0 ? 1 : -1;
}

void ecall_report(uint8_t *identity) {
    const nsgx_report *self = nsgx_self();
    if (identity == NULL) return;
    memcpy(identity, self->mrenclave, 32);
    memcpy(identity + 32, self->mrsigner, 32);
}

void ecall_abort(void) { nsgx_abort(); }
