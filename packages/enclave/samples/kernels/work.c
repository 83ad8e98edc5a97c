/* Kernels for comparing inside with outside. They need nothing of a runtime, so that the same object code can be linked
 * into an ordinary shared library and measured there; the alignment keeps both copies alike for the CPU. */
#include <stddef.h>
#include <stdint.h>

#define KERNEL __attribute__((noinline, aligned(64), visibility("default")))

uint64_t nsgx_kernel_compute_work(uint64_t iterations);
uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds);

/* Integer and floating-point arithmetic in registers. */
KERNEL uint64_t nsgx_kernel_compute_work(uint64_t iterations) {
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
KERNEL uint64_t nsgx_kernel_memory_work(uint64_t *memory, uint64_t bytes, uint64_t rounds) {
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
