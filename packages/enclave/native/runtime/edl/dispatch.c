/* ECALLs and commands at CSSA 0, in the protocol of Intel's SDK: RSI points to a call's own structure, and the status
 * goes out with the exit. */
#include "edl.h"

#define MAX_DEPTH 8
#define MIN_STACK 8192

/* Bits of cpu_features */
#define CPU_BASE 0x3ffull /* up to SSE4.1 */
#define CPU_PCLMUL 0x2000ull
#define CPU_AESNI 0x4000ull

const struct nsgx_host_codes nsgx_host_codes = {SGX_ERROR_UNEXPECTED, SGX_ERROR_ENCLAVE_CRASHED,
                                                SGX_ERROR_UNEXPECTED};

static uint64_t initialise(uint64_t outside) {
    struct system_features features;
    if (!nsgx_copy_in(&features, (const void *)outside, sizeof features) ||
        (features.cpu_features & CPU_BASE) != CPU_BASE)
        return SGX_ERROR_UNEXPECTED;
    /* The structure does not tell whether XGETBV has its second form: the one that always works is taken. */
    uint32_t missing = MISSING_XGETBV1;
    if ((features.cpu_features & CPU_AESNI) == 0) missing |= MISSING_AESNI;
    if ((features.cpu_features & CPU_PCLMUL) == 0) missing |= MISSING_PCLMUL;
    return nsgx_start(missing) == NSGX_OK ? SGX_SUCCESS : SGX_ERROR_UNEXPECTED;
}

static uint64_t ecall(struct thread_data *thread, uint64_t index, uint64_t outside) {
    if (index >= nsgx_edl_ecall_count) return SGX_ERROR_INVALID_FUNCTION;
    nsgx_speculation_barrier();
    const struct nsgx_edl_ecall *called = &nsgx_edl_ecalls[index];
    bool allowed = thread->ocall == NULL
                       ? !called->is_private
                       : nsgx_edl_allowed[(uint64_t)thread->ocall->index * nsgx_edl_ecall_count + index] != 0;
    if (!allowed) return SGX_ERROR_ECALL_NOT_ALLOWED;
    uint64_t here = (uint64_t)__builtin_frame_address(0) - (uint64_t)__image_base;
    if (thread->depth >= MAX_DEPTH || here < thread->stack_low + MIN_STACK) return SGX_ERROR_STACK_OVERRUN;
    thread->depth++;
    thread->ecall_rsp = thread->outside_rsp;
    uint64_t status = called->bridge((void *)outside);
    thread->depth--;
    /* Whatever the author's code took of the caller's stack. */
    nsgx_edl_stack_back(thread->ecall_rsp);
    return status;
}

uint64_t nsgx_enter(int64_t command, uint64_t outside) {
    if (nsgx_state >= STATE_CRASHED) return SGX_ERROR_ENCLAVE_CRASHED;
    if (command == COMMAND_INIT)
        return nsgx_state == STATE_FRESH ? initialise(outside) : (uint64_t)SGX_ERROR_UNEXPECTED;
    if (nsgx_state != STATE_READY) return SGX_ERROR_UNEXPECTED;
    if (command >= 0) return ecall(nsgx_thread(), (uint64_t)command, outside);
    if (command != COMMAND_UNINIT) return SGX_ERROR_UNEXPECTED;
    nsgx_state = STATE_ENDED;
    return SGX_SUCCESS;
}
