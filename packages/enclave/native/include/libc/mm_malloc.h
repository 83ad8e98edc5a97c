/* Stands before the compiler's own mm_malloc.h, which needs a whole libc. */
