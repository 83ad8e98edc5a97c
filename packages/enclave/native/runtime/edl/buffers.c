/* Copies between host and enclave for the bridges made from EDL files. */
#include "nsgx_edl.h"

#include <stdlib.h>

#include "runtime.h"

struct nsgx_edl_block {
    struct nsgx_edl_block *next;
    size_t size;
};
_Static_assert(sizeof(struct nsgx_edl_block) == 16, "what follows keeps the alignment of malloc");

static bool product(size_t unit, size_t count, size_t multiple, size_t *length) {
    return !__builtin_mul_overflow(unit, count, length) && *length % multiple == 0;
}

static void *allocate(struct nsgx_edl_memory *memory, size_t size) {
    struct nsgx_edl_block *block = size <= SIZE_MAX - sizeof *block ? malloc(sizeof *block + size) : NULL;
    if (block == NULL) return NULL;
    *block = (struct nsgx_edl_block){memory->blocks, size};
    memory->blocks = block;
    return block + 1;
}

sgx_status_t nsgx_edl_copies(struct nsgx_edl_memory *memory, size_t count, size_t members, struct nsgx_edl_copy **to) {
    size_t length;
    if (!product(members * sizeof **to, count, 1, &length)) return SGX_ERROR_INVALID_PARAMETER;
    *to = allocate(memory, length);
    if (*to == NULL) return SGX_ERROR_OUT_OF_MEMORY;
    memset(*to, 0, length);
    return SGX_SUCCESS;
}

sgx_status_t nsgx_edl_shorten(struct nsgx_edl_copy *copy, size_t unit, size_t count, size_t multiple) {
    size_t length;
    if (copy->theirs == NULL) return SGX_SUCCESS;
    if (!product(unit, count, multiple, &length) || length > copy->length) return SGX_ERROR_INVALID_PARAMETER;
    copy->length = length;
    return SGX_SUCCESS;
}

sgx_status_t nsgx_edl_take(struct nsgx_edl_memory *memory, struct nsgx_edl_copy *copy, void *theirs, size_t unit,
                           size_t count, size_t multiple, bool fill) {
    size_t length;
    *copy = (struct nsgx_edl_copy){0};
    if (theirs == NULL) return SGX_SUCCESS;
    if (!product(unit, count, multiple, &length) || !nsgx_is_outside(theirs, length))
        return SGX_ERROR_INVALID_PARAMETER;
    copy->theirs = theirs;
    if (length == 0) return SGX_SUCCESS;
    copy->ours = allocate(memory, length);
    if (copy->ours == NULL) return SGX_ERROR_OUT_OF_MEMORY;
    copy->length = length;
    if (fill)
        memcpy(copy->ours, theirs, length);
    else
        memset(copy->ours, 0, length);
    return SGX_SUCCESS;
}

/* Where the first zero character is, in bytes; `length` when there is none. */
static size_t text_end(const uint8_t *text, size_t length, size_t unit) {
    if (unit == 1) return strnlen((const char *)text, length);
    for (size_t at = 0; at + unit <= length; at += unit) {
        wchar_t character;
        memcpy(&character, text + at, sizeof character);
        if (character == 0) return at;
    }
    return length;
}

sgx_status_t nsgx_edl_take_text(struct nsgx_edl_memory *memory, struct nsgx_edl_copy *copy, void *theirs,
                                size_t length, size_t unit) {
    sgx_status_t status = nsgx_edl_take(memory, copy, theirs, 1, length, unit, true);
    if (status != SGX_SUCCESS || theirs == NULL) return status;
    if (copy->length == 0) return SGX_ERROR_INVALID_PARAMETER;
    memset((uint8_t *)copy->ours + length - unit, 0, unit);
    return text_end(copy->ours, length, unit) + unit == length ? SGX_SUCCESS : SGX_ERROR_INVALID_PARAMETER;
}

void nsgx_edl_give(const struct nsgx_edl_copy *copy) {
    if (copy->length > 0) memcpy(copy->theirs, copy->ours, copy->length);
}

void nsgx_edl_give_text(const struct nsgx_edl_copy *copy, size_t unit) {
    if (copy->length == 0) return;
    memset((uint8_t *)copy->ours + copy->length - unit, 0, unit);
    memcpy(copy->theirs, copy->ours, text_end(copy->ours, copy->length, unit) + unit);
}

void nsgx_edl_release(struct nsgx_edl_memory *memory) {
    for (struct nsgx_edl_block *block = memory->blocks; block != NULL;) {
        struct nsgx_edl_block *next = block->next;
        nsgx_wipe(block, sizeof *block + block->size);
        free(block);
        block = next;
    }
    memory->blocks = NULL;
}

sgx_status_t nsgx_edl_lend(struct nsgx_edl_copy *copy, const void *ours, size_t unit, size_t count, size_t multiple,
                           bool fill) {
    size_t length;
    *copy = (struct nsgx_edl_copy){0};
    if (ours == NULL) return SGX_SUCCESS;
    if (!product(unit, count, multiple, &length) || !nsgx_is_inside(ours, length))
        return SGX_ERROR_INVALID_PARAMETER;
    /* At least one byte: a buffer that is empty is not NULL. */
    void *theirs = sgx_ocalloc(length == 0 ? 1 : length);
    if (theirs == NULL) return SGX_ERROR_UNEXPECTED;
    *copy = (struct nsgx_edl_copy){theirs, (void *)ours, length};
    if (fill)
        memcpy(theirs, ours, length);
    else
        memset(theirs, 0, length);
    return SGX_SUCCESS;
}

sgx_status_t nsgx_edl_call(unsigned int index, const void *structure, size_t size, uint8_t **theirs) {
    *theirs = sgx_ocalloc(size);
    if (*theirs == NULL) return SGX_ERROR_UNEXPECTED;
    memcpy(*theirs, structure, size);
    return sgx_ocall(index, *theirs);
}

void nsgx_edl_recall(const struct nsgx_edl_copy *copy) {
    if (copy->length > 0) memcpy(copy->ours, copy->theirs, copy->length);
}

void nsgx_edl_recall_text(const struct nsgx_edl_copy *copy, size_t unit) {
    if (copy->length == 0) return;
    nsgx_edl_recall(copy);
    memset((uint8_t *)copy->ours + copy->length - unit, 0, unit);
}
