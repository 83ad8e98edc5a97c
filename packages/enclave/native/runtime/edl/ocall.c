/* OCALLs as Intel's runtime makes them: structure and buffers lie on the caller's stack, below what EENTER brought in
 * RSP. The end of that stack is kept where exits take RSP from, and in SSA[0].URSP, where an interruption does. */
#include "edl.h"

#define OCALL_ALIGN 16u
#define URSP_OFFSET (GPRSGX_OFFSET + 144)

static void set_stack(struct thread_data *thread, uint64_t end) {
    thread->outside_rsp = end;
    memcpy(__image_base + thread->ssa + URSP_OFFSET, &end, sizeof end);
}

uint64_t nsgx_edl_stack(void) { return nsgx_thread()->outside_rsp; }

void nsgx_edl_stack_back(uint64_t end) { set_stack(nsgx_thread(), end); }

void *sgx_ocalloc(size_t size) {
    struct thread_data *thread = nsgx_thread();
    uint64_t end = thread->outside_rsp;
    if (size > end) return NULL;
    uint64_t at = (end - size) & ~(uint64_t)(OCALL_ALIGN - 1);
    /* All of it, with what the alignment left: the host chose where its stack is. */
    if (!nsgx_is_outside((const void *)at, end - at)) return NULL;
    set_stack(thread, at);
    return (void *)at;
}

void sgx_ocfree(void) {
    struct thread_data *thread = nsgx_thread();
    set_stack(thread, thread->ecall_rsp);
}

sgx_status_t sgx_ocall(unsigned int index, void *structure) {
    struct thread_data *thread = nsgx_thread();
    if (index >= nsgx_edl_ocall_count) return SGX_ERROR_INVALID_FUNCTION;
    if (thread->exceptions > 0) return SGX_ERROR_OCALL_NOT_ALLOWED;
    struct ocall_frame frame = {thread->ocall, index};
    uint64_t rsp = thread->outside_rsp, rbp = thread->outside_rbp, ecall_rsp = thread->ecall_rsp;
    thread->ocall = &frame;
    uint64_t status = nsgx_exit_ocall(index, structure);
    thread->ocall = frame.outer;
    /* Nested ECALLs and ORET brought their own. */
    set_stack(thread, rsp);
    thread->outside_rbp = rbp;
    thread->ecall_rsp = ecall_rsp;
    return (sgx_status_t)status;
}
