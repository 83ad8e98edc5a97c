/* The store: encrypted blocks outside, for files that stay (core/fs/store.ts). */
#ifndef LIBOS_STORE_H
#define LIBOS_STORE_H

#include <stdbool.h>
#include <stdint.h>

enum libos_store_op { OP_STORE_LOAD = 96, OP_STORE_COMMIT, OP_STORE_WRITE };

/* Mounts the store if the image has one; false, with a note, when it must not be used. */
bool libos_store_start(uint8_t *memory);

/* The core's requests. Bounds of what they name in its memory are the caller's word. */
int64_t libos_store_serve(uint64_t op, const uint64_t a[6], uint8_t *memory, uint64_t size);

/* The last commit, at the end of the program. */
void libos_store_last(uint8_t *memory);

#endif
