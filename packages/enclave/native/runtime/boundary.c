/* The border between the enclave and the host's memory. */
#include "runtime.h"

bool nsgx_is_outside(const void *pointer, size_t length) {
    bool outside = nsgx_range_outside((uint64_t)pointer, length);
    nsgx_speculation_barrier();
    return outside;
}

bool nsgx_is_inside(const void *pointer, size_t length) {
    uint64_t first = (uint64_t)pointer;
    uint64_t base = (uint64_t)__image_base;
    uint64_t end = base + nsgx_layout.image_size;
    bool inside = first >= base && first <= end && length <= end - first;
    nsgx_speculation_barrier();
    return inside;
}

bool nsgx_copy_in(void *to, const void *outside, size_t length) {
    if (length == 0) return true;
    if (!nsgx_is_outside(outside, length)) return false;
    memcpy(to, outside, length);
    return true;
}

bool nsgx_copy_out(void *outside, const void *from, size_t length) {
    if (length == 0) return true;
    if (!nsgx_is_outside(outside, length)) return false;
    memcpy(outside, from, length);
    return true;
}

uint64_t nsgx_image_size(void) { return nsgx_layout.image_size; }
