/* Memory and string functions. Built with -fno-tree-loop-distribute-patterns, so that no loop here becomes a call to
 * the function it implements. */
#include <stdint.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

/* From this length on the microcode of REP MOVSB/STOSB is the faster one. */
#define LONG_COPY 512

void *memcpy(void *restrict to, const void *restrict from, size_t length) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if (length >= LONG_COPY) {
        __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(length) : : "memory");
        return to;
    }
    for (; length >= 8; length -= 8, target += 8, source += 8) *(word *)target = *(const word *)source;
    for (; length > 0; length--) *target++ = *source++;
    return to;
}

void *memmove(void *to, const void *from, size_t length) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((uintptr_t)target - (uintptr_t)source >= length) return memcpy(to, from, length);
    for (; length >= 8; length -= 8) *(word *)(target + length - 8) = *(const word *)(source + length - 8);
    while (length > 0) {
        length--;
        target[length] = source[length];
    }
    return to;
}

void *memset(void *to, int value, size_t length) {
    uint8_t *target = to;
    if (length >= LONG_COPY) {
        __asm__ volatile("rep stosb" : "+D"(target), "+c"(length) : "a"(value) : "memory");
        return to;
    }
    uint64_t pattern = (uint8_t)value * 0x0101010101010101ull;
    for (; length >= 8; length -= 8, target += 8) *(word *)target = pattern;
    for (; length > 0; length--) *target++ = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t length) {
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < length; i++)
        if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
    return 0;
}

void *memchr(const void *data, int value, size_t length) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < length; i++)
        if (bytes[i] == (uint8_t)value) return (void *)(bytes + i);
    return NULL;
}

size_t strnlen(const char *text, size_t limit) {
    size_t length = 0;
    while (length < limit && text[length] != 0) length++;
    return length;
}

size_t strlen(const char *text) { return strnlen(text, SIZE_MAX); }

int strncmp(const char *a, const char *b, size_t limit) {
    for (size_t i = 0; i < limit; i++) {
        if (a[i] != b[i]) return (uint8_t)a[i] < (uint8_t)b[i] ? -1 : 1;
        if (a[i] == 0) return 0;
    }
    return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, SIZE_MAX); }

char *strchr(const char *text, int value) {
    for (;; text++) {
        if (*text == (char)value) return (char *)text;
        if (*text == 0) return NULL;
    }
}

char *strrchr(const char *text, int value) {
    for (size_t i = strlen(text) + 1; i > 0; i--)
        if (text[i - 1] == (char)value) return (char *)(text + i - 1);
    return NULL;
}

char *strstr(const char *text, const char *part) {
    size_t length = strlen(part);
    for (;; text++) {
        if (strncmp(text, part, length) == 0) return (char *)text;
        if (*text == 0) return NULL;
    }
}
