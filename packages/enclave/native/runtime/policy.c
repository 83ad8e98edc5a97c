/* Defaults of the policy hooks: an enclave's own definitions take precedence. */
#include "nsgx.h"

__attribute__((weak)) bool nsgx_allow_report(const nsgx_targetinfo *target, const uint8_t data[64]) {
    (void)target;
    (void)data;
    return true;
}

__attribute__((weak)) nsgx_exception *nsgx_exception_divert(const nsgx_registers *interrupted, uint64_t *resume) {
    (void)interrupted;
    (void)resume;
    return NULL;
}

__attribute__((weak)) nsgx_exception *nsgx_interrupt_divert(const nsgx_registers *interrupted, uint64_t *resume) {
    (void)interrupted;
    (void)resume;
    return NULL;
}
