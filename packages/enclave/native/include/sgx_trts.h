/* Functions of Intel's SDK that enclaves with an interface in EDL have here as well, under the same names. */
#ifndef SGX_TRTS_H
#define SGX_TRTS_H

#include <stddef.h>

#include "sgx_error.h"

/* 1 when the range lies wholly inside (outside), otherwise 0. */
int sgx_is_within_enclave(const void *pointer, size_t size);
int sgx_is_outside_enclave(const void *pointer, size_t size);

/* Random bytes from RDRAND. */
sgx_status_t sgx_read_rand(unsigned char *to, size_t length);

/* Memory on the stack of the thread's caller, for an OCALL; NULL when the caller's stack is no memory outside. It lasts
 * until sgx_ocfree, which gives all of it back, or until the ECALL returns. */
void *sgx_ocalloc(size_t size);
void sgx_ocfree(void);

/* An OCALL by number with its marshalling structure, which the stubs in NAME_t.c make. */
sgx_status_t sgx_ocall(unsigned int index, void *structure);

#endif
