/* The functions of Intel's SDK and of the C library that only these enclaves have. */
#include "edl.h"

static _Thread_local int errno_of_thread;

int *nsgx_errno(void) { return &errno_of_thread; }

size_t wcslen(const wchar_t *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}

int sgx_is_within_enclave(const void *pointer, size_t size) { return nsgx_is_inside(pointer, size); }

int sgx_is_outside_enclave(const void *pointer, size_t size) { return nsgx_is_outside(pointer, size); }

sgx_status_t sgx_read_rand(unsigned char *to, size_t length) {
    if (to == NULL || length == 0) return SGX_ERROR_INVALID_PARAMETER;
    nsgx_random(to, length);
    return SGX_SUCCESS;
}
