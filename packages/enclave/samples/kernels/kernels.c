/* Kernels for comparing inside with outside. The work is done by functions that need nothing of a runtime, so that the
 * same object code can be measured in an ordinary process (compile this file with -DNSGX_OUTSIDE). */
#include <stddef.h>
#include <stdint.h>

uint64_t nsgx_kernel_compute_work(uint64_t iterations);
uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds);

/* Integer and floating-point arithmetic in registers. */
__attribute__((noinline)) uint64_t nsgx_kernel_compute_work(uint64_t iterations) {
    uint64_t a = 0x9e3779b97f4a7c15u, b = 0xbf58476d1ce4e5b9u;
    double x = 1.0;
    for (uint64_t i = 0; i < iterations; i++) {
        a ^= a << 13;
        a ^= a >> 7;
        a ^= a << 17;
        b = b * 0x94d049bb133111ebu + (a >> 3);
        x = x * 0.999999 + (double)(b & 0xff);
    }
    return a ^ b ^ (uint64_t)x;
}

/* Dependent random reads and writes over all of `memory` (a power of two of bytes, at least 4096). */
__attribute__((noinline)) uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds) {
    uint64_t words = bytes / 8, mask = words - 1;
    for (uint64_t i = 0; i < words; i++) memory[i] = i * 0x9e3779b97f4a7c15u;
    uint64_t at = 1;
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < words; i += 8) {
            uint64_t value = memory[at];
            memory[at] = value ^ (i + round);
            at = (value * 0x94d049bb133111ebu + i) >> 20 & mask;
        }
    }
    return at ^ memory[0];
}

#ifndef NSGX_OUTSIDE
#include <stdlib.h>

#include "nsgx_interface.h"

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
#endif
