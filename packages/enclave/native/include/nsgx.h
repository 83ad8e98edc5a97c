/* NestedSGX trusted runtime: what code inside an enclave may use. Include this one header.
 *
 * Threads: every TCS has its own stack and thread-local storage (`_Thread_local` works). Functions here may be called
 * from all threads at once unless they say otherwise. */
#ifndef NSGX_H
#define NSGX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nsgx_crypto.h"
#include "nsgx_exception.h"
#include "nsgx_seal.h"
#include "nsgx_sgx.h"

/* Results of runtime functions, and the `status` of a call as the host sees it. */
typedef enum nsgx_status {
    NSGX_OK = 0,
    NSGX_INVALID_REQUEST = 1,     /* malformed message */
    NSGX_RESPONSE_TOO_LARGE = 2,  /* response kept; fetch it with a larger buffer */
    NSGX_INVALID_POINTER = 3,     /* a pointer of the host's does not lie wholly outside of the enclave */
    NSGX_UNKNOWN_CALL = 4,        /* no ECALL with that index */
    NSGX_OUT_OF_MEMORY = 5,
    NSGX_CRASHED = 6,             /* the enclave aborted or was ended and refuses all calls */
    NSGX_NOTHING_KEPT = 7,        /* FETCH without a kept response */
    NSGX_TOO_DEEP = 8,            /* ECALLs nested too deeply, or no stack left */
    NSGX_OCALL_FAILED = 9,        /* the host refused or failed the OCALL, or its answer was malformed */
    NSGX_BAD_COMMAND = 10,        /* a command that is unknown or makes no sense now */
    NSGX_FORBIDDEN = 11,          /* refused by the enclave's own policy */
    NSGX_BUSY = 12,               /* another thread is still initialising the enclave */
    NSGX_NO_EXCEPTION = 13,       /* EXCEPT without an exception, or at a place where none can be handled */
    NSGX_BAD_SEAL = 14,           /* not a sealed blob of this version, changed, or sealed by another identity */
    NSGX_KEY_REFUSED = 15,        /* EGETKEY refused the key request */
    NSGX_INVALID_ARGUMENT = 16,
    NSGX_FAILED = 0x10000         /* + n: the enclave's own code called nsgx_fail(n) */
} nsgx_status;

/* UTF-8 text. Arguments and OCALL results are checked to be UTF-8 and followed by a zero byte that is not counted in
 * `length`; text may itself hold zero bytes. */
typedef struct nsgx_string {
    const char *data;
    size_t length;
} nsgx_string;

typedef struct nsgx_bytes {
    const uint8_t *data;
    size_t length;
} nsgx_bytes;

/* ---- memory of the current call ------------------------------------------------------------------------------- */

/* Memory that is wiped and freed when the current ECALL returns; good for what an ECALL returns. NULL when there is
 * none: the ECALL will then end with NSGX_OUT_OF_MEMORY, whatever it returns. */
void *nsgx_call_alloc(size_t size);

/* A C string as nsgx_string (not copied). */
nsgx_string nsgx_text(const char *zero_terminated);

/* ---- ending calls --------------------------------------------------------------------------------------------- */

/* The current ECALL will return the status NSGX_FAILED + (code & 0xffff) and no response. Returns to its caller. */
void nsgx_fail(uint32_t code);

/* Ends this call, and the enclave refuses all later ones with NSGX_CRASHED. For broken invariants. */
_Noreturn void nsgx_abort(void);

/* ---- pointers of the host -------------------------------------------------------------------------------------- */

/* Whether [pointer, pointer + length) lies wholly outside of (inside) the enclave and does not wrap. Speculation stops
 * behind the answer. */
bool nsgx_is_outside(const void *pointer, size_t length);
bool nsgx_is_inside(const void *pointer, size_t length);

/* Copies from or to the host's memory; false, and nothing copied, when the range is not wholly outside. */
bool nsgx_copy_in(void *to, const void *outside, size_t length);
bool nsgx_copy_out(void *outside, const void *from, size_t length);

/* ---- policy hooks: define a function of the same name to override ---------------------------------------------- */

/* Whether a REPORT of this enclave may be made for a target enclave with this data (command REPORT, which serves the
 * host's attest()). The default allows all: the data are the host's choice, so peers must not take REPORTDATA as the
 * enclave's own word unless the enclave overrides this. */
bool nsgx_allow_report(const nsgx_targetinfo *target, const uint8_t data[64]);

/* ---- small things ------------------------------------------------------------------------------------------------ */

/* A spin lock; initialise with {0}. */
typedef struct nsgx_lock {
    volatile uint32_t held;
} nsgx_lock;
void nsgx_lock_acquire(nsgx_lock *lock);
void nsgx_lock_release(nsgx_lock *lock);

/* Index of this thread's TCS in the image, from 0. */
uint32_t nsgx_thread_index(void);

/* SECS.SIZE: bytes of the ELRANGE. */
uint64_t nsgx_image_size(void);

/* Bytes of heap in use, and in all. */
size_t nsgx_heap_used(void);
size_t nsgx_heap_size(void);

#endif
