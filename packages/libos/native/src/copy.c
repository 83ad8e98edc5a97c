#include "copy.h"

#include <stdint.h>

#undef memcpy
#undef memmove
#undef memset

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

#define LONG 256

void *libos_copy(void *to, const void *from, size_t length) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if (length > LONG) {
        __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(length) : : "memory");
        return to;
    }
    for (; length >= 8; length -= 8, target += 8, source += 8) *(word *)target = *(const word *)source;
    for (; length > 0; length--) *target++ = *source++;
    return to;
}

void *libos_move(void *to, const void *from, size_t length) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((uintptr_t)target - (uintptr_t)source >= length) return libos_copy(to, from, length);
    for (; length >= 8; length -= 8) *(word *)(target + length - 8) = *(const word *)(source + length - 8);
    for (; length > 0; length--) target[length - 1] = source[length - 1];
    return to;
}

void *libos_fill(void *to, int value, size_t length) {
    uint8_t *target = to;
    __asm__ volatile("rep stosb" : "+D"(target), "+c"(length) : "a"(value) : "memory");
    return to;
}
