/* The kernels as ECALLs. */
#include <stdlib.h>

#include "nsgx_interface.h"

uint64_t nsgx_kernel_compute_work(uint64_t iterations);
uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds);

uint64_t kernel_compute(uint64_t iterations) { return nsgx_kernel_compute_work(iterations); }

uint64_t kernel_memory(uint64_t bytes, uint64_t rounds) {
    if (bytes < 4096 || (bytes & (bytes - 1)) != 0) {
        nsgx_fail(NSGX_INVALID_ARGUMENT);
        return 0;
    }
    uint8_t *block = malloc(bytes + 4096);
    if (block == NULL) {
        nsgx_fail(NSGX_OUT_OF_MEMORY);
        return 0;
    }
    uint64_t *memory = (uint64_t *)(((uintptr_t)block + 4095) & ~(uintptr_t)4095);
    uint64_t result = nsgx_kernel_memory_work(memory, bytes, rounds);
    free(block);
    return result;
}
