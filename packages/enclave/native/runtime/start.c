/* First entry: relocate the image, set up the heap. Runs once, whichever thread comes first. */
#include "runtime.h"

volatile uint32_t nsgx_state = STATE_FRESH;
volatile uint32_t nsgx_missing = 0;

struct rela {
    uint64_t offset;
    uint64_t info;
    int64_t addend;
};
#define R_X86_64_RELATIVE 8

extern const struct rela __rela_start[], __rela_end[];

/* The tool chain has checked the table; a wrong entry here means a broken build and stops the enclave. */
static bool relocate(void) {
    uint64_t low = nsgx_layout.writable_offset;
    for (const struct rela *entry = __rela_start; entry < __rela_end; entry++) {
        if (entry->info != R_X86_64_RELATIVE || entry->offset < low ||
            entry->offset - low > nsgx_layout.writable_size - 8)
            return false;
        uint64_t value = (uint64_t)__image_base + (uint64_t)entry->addend;
        memcpy(__image_base + entry->offset, &value, 8);
    }
    return true;
}

uint64_t nsgx_start(uint32_t missing) {
    uint32_t fresh = STATE_FRESH;
    if (!__atomic_compare_exchange_n((uint32_t *)&nsgx_state, &fresh, STATE_STARTING, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        for (uint32_t turn = 0; nsgx_state == STATE_STARTING; turn++) {
            if (turn == 1u << 22) return NSGX_BUSY;
            __builtin_ia32_pause();
        }
        return nsgx_state == STATE_READY ? NSGX_OK : NSGX_CRASHED;
    }
    if (nsgx_layout.version != 1 || !relocate()) {
        nsgx_state = STATE_CRASHED;
        return NSGX_CRASHED;
    }
    nsgx_missing = missing;
    uint64_t secret;
    nsgx_random(&secret, sizeof secret);
    nsgx_heap_start(__image_base + nsgx_layout.heap_offset, nsgx_layout.heap_size, nsgx_layout.heap_limit, secret);
    __atomic_store_n((uint32_t *)&nsgx_state, STATE_READY, __ATOMIC_RELEASE);
    return NSGX_OK;
}

_Noreturn void nsgx_abort(void) {
    nsgx_state = STATE_CRASHED;
    nsgx_leave(nsgx_host_codes.crashed);
}

_Noreturn void abort(void);
_Noreturn void abort(void) { nsgx_abort(); }

/* What gcc's stack protector calls when a canary was overwritten. */
_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void) { nsgx_abort(); }

uint32_t nsgx_thread_index(void) { return nsgx_thread()->index; }

void nsgx_lock_acquire(nsgx_lock *lock) {
    while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE) != 0)
        while (lock->held != 0) __builtin_ia32_pause();
}

void nsgx_lock_release(nsgx_lock *lock) { __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE); }
