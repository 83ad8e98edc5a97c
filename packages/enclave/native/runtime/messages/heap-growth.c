/* Giving heap back: the host turns the free pages at its end into PT_TRIM, the enclave accepts, the host removes them. */
#include "runtime.h"

static uint8_t *trimmed;
static size_t trimmed_length;
static nsgx_lock lock;

/* Response: u64 offset of the pages from the enclave's base, u64 bytes (0: nothing to give). */
uint64_t nsgx_command_trim_heap(nsgx_reader *request, nsgx_writer *response) {
    (void)request;
    nsgx_lock_acquire(&lock);
    if (trimmed_length == 0) trimmed_length = nsgx_heap_detach(&trimmed);
    uint64_t answer[2] = {trimmed_length == 0 ? 0 : (uint64_t)(trimmed - __image_base), trimmed_length};
    nsgx_lock_release(&lock);
    nsgx_write_raw(response, answer, sizeof answer);
    return NSGX_OK;
}

uint64_t nsgx_command_accept_trim(nsgx_reader *request, nsgx_writer *response) {
    (void)request;
    (void)response;
    uint64_t status = NSGX_INVALID_ARGUMENT;
    nsgx_lock_acquire(&lock);
    if (trimmed_length > 0 &&
        nsgx_accept(trimmed, trimmed_length / 4096, NSGX_PAGE_TRIM | NSGX_PAGE_MODIFIED) == 0) {
        trimmed_length = 0;
        nsgx_heap_detached_gone();
        status = NSGX_OK;
    }
    nsgx_lock_release(&lock);
    return status;
}
