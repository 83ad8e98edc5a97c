/* Dynamic memory (SGX2): pages that come, change and go while the enclave runs. The host does the other half of each
 * change; nothing counts before the enclave has accepted it. */
#ifndef NSGX_EDMM_H
#define NSGX_EDMM_H

#include <stddef.h>
#include <stdint.h>

/* SECINFO.FLAGS */
#define NSGX_PAGE_R 1u
#define NSGX_PAGE_W 2u
#define NSGX_PAGE_X 4u
#define NSGX_PAGE_RWX 7u
#define NSGX_PAGE_PENDING 8u
#define NSGX_PAGE_MODIFIED 16u
#define NSGX_PAGE_PR 32u
#define NSGX_PAGE_TCS (1u << 8)
#define NSGX_PAGE_REG (2u << 8)
#define NSGX_PAGE_TRIM (4u << 8)
/* A page that EAUG adds: readable, writable, zero. Accepting one that is not there yet makes the host add it. */
#define NSGX_PAGE_NEW (NSGX_PAGE_REG | NSGX_PAGE_R | NSGX_PAGE_W | NSGX_PAGE_PENDING)

/* Results beside the leaves' codes (SGX_PAGE_ATTRIBUTES_MISMATCH 19, SGX_NOT_TRACKED 11, …) */
#define NSGX_EDMM_BAD_RANGE (~0ull) /* not whole pages of this enclave */

/* EACCEPT of `pages` pages from `address` on, each of which must have exactly these SECINFO.FLAGS. 0, or the code of the
 * first page that is refused; those before it are accepted. */
uint64_t nsgx_accept(void *address, size_t pages, uint64_t flags);

/* EACCEPTCOPY: accepts one new page with these permissions and with the content of the page at `source`. */
uint64_t nsgx_accept_copy(void *address, const void *source, uint64_t permissions);

/* EMODPE: adds permissions to pages. */
uint64_t nsgx_extend_permissions(void *address, size_t pages, uint64_t permissions);

#endif
