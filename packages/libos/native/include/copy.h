/* Copies without vector registers: those are the program's while the library OS runs. */
#ifndef LIBOS_COPY_H
#define LIBOS_COPY_H

#include <stddef.h>
#include <string.h>

void *libos_copy(void *to, const void *from, size_t length);
void *libos_move(void *to, const void *from, size_t length);
void *libos_fill(void *to, int value, size_t length);

#define memcpy libos_copy
#define memmove libos_move
#define memset libos_fill

#endif
