/* Attacks on a running enclave through calls of the monitor, which a hostile kernel could make as well. */
#ifndef NSGX_KIT_ENCLAVES_H
#define NSGX_KIT_ENCLAVES_H
#include <stdint.h>

/* Tries every leaf on the pages of the first enclave there is; `secret` must not come back in any register or buffer. */
int seize(uint64_t secret);
/* Interrupts the threads of the first enclave as often as it can. */
int storm(unsigned ms);
/* Evicts the page at `linear`, waits for a line on the standard input, evicts it again, and feeds old and false copies. */
int replay(uint64_t linear);
#endif
