/* What the C made from an EDL file is built on: copies of what the host and the enclave show each other. Authors include
 * NAME_t.h. */
#ifndef NSGX_EDL_H
#define NSGX_EDL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "nsgx.h"
#include "sgx_error.h"
#include "sgx_trts.h"

#ifndef SGX_CDECL
#define SGX_CDECL
#endif

/* One buffer on both sides. */
struct nsgx_edl_copy {
    void *theirs; /* outside */
    void *ours;   /* inside */
    size_t length;
};

/* ---- ECALLs ------------------------------------------------------------------------------------------------------ */

/* Blocks that live until the ECALL returns; initialise with {0}. */
struct nsgx_edl_memory {
    struct nsgx_edl_block *blocks;
};

/* `count` times `members` empty copies. SGX_ERROR_OUT_OF_MEMORY. */
sgx_status_t nsgx_edl_copies(struct nsgx_edl_memory *memory, size_t count, size_t members, struct nsgx_edl_copy **to);

/* The length of a copy becomes unit * count, which must not be more than it was: SGX_ERROR_INVALID_PARAMETER. */
sgx_status_t nsgx_edl_shorten(struct nsgx_edl_copy *copy, size_t unit, size_t count, size_t multiple);

/* A private copy (`fill`) or zeros for a buffer of the host's with unit * count bytes, which must not wrap, be a
 * multiple of `multiple` and lie wholly outside: SGX_ERROR_INVALID_PARAMETER. NULL stays NULL, and an empty buffer
 * becomes NULL. */
sgx_status_t nsgx_edl_take(struct nsgx_edl_memory *memory, struct nsgx_edl_copy *copy, void *theirs, size_t unit,
                           size_t count, size_t multiple, bool fill);

/* The same for text of `length` bytes with its zero, of characters of `unit` bytes. A zero is put at the end, and must
 * be the first one. */
sgx_status_t nsgx_edl_take_text(struct nsgx_edl_memory *memory, struct nsgx_edl_copy *copy, void *theirs,
                                size_t length, size_t unit);

/* Writes a copy back to where it came from; its range was checked then. */
void nsgx_edl_give(const struct nsgx_edl_copy *copy);
/* The same for text: up to its first zero, never more than there was room for. */
void nsgx_edl_give_text(const struct nsgx_edl_copy *copy, size_t unit);

/* Wipes and frees. */
void nsgx_edl_release(struct nsgx_edl_memory *memory);

/* ---- OCALLs ------------------------------------------------------------------------------------------------------ */

/* Where the caller's stack ends now, and back to there. */
uint64_t nsgx_edl_stack(void);
void nsgx_edl_stack_back(uint64_t end);

/* Room on the caller's stack for a buffer of the enclave's, which must lie wholly inside; with a copy (`fill`) or zeros
 * in it. NULL stays NULL. */
sgx_status_t nsgx_edl_lend(struct nsgx_edl_copy *copy, const void *ours, size_t unit, size_t count, size_t multiple,
                           bool fill);

/* The structure onto the caller's stack, and out. `theirs` is where it is. */
sgx_status_t nsgx_edl_call(unsigned int index, const void *structure, size_t size, uint8_t **theirs);

/* Takes what the host left in lent memory. Text ends with a zero in any case. */
void nsgx_edl_recall(const struct nsgx_edl_copy *copy);
void nsgx_edl_recall_text(const struct nsgx_edl_copy *copy, size_t unit);

/* ---- tables, made from the EDL file ------------------------------------------------------------------------------ */

struct nsgx_edl_ecall {
    sgx_status_t (*bridge)(void *structure);
    uint8_t is_private;
};
extern const struct nsgx_edl_ecall nsgx_edl_ecalls[];
extern const uint32_t nsgx_edl_ecall_count;
/* Row o, column e: whether ECALL e may be made during OCALL o. */
extern const uint8_t nsgx_edl_allowed[];
extern const uint32_t nsgx_edl_ocall_count;

#endif
