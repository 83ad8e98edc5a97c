/* The part of <stdlib.h> that the runtime has. */
#ifndef NSGX_LIBC_STDLIB_H
#define NSGX_LIBC_STDLIB_H
#include <stddef.h>
/* Blocks are 16-byte aligned. A corrupted heap, a double free or a foreign pointer aborts the enclave. */
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
_Noreturn void abort(void);
#endif
