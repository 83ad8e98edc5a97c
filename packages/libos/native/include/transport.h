/* Requests to the host. Each thread has a channel (channel.h) in untrusted memory; `ring` and `ocall` differ in whether
 * the enclave is left while somebody outside looks at it, `gate` has the operations done by what runs the enclave. */
#ifndef LIBOS_TRANSPORT_H
#define LIBOS_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"

/* Asks the host where the channels are; false when they are not wholly outside. */
bool libos_transport_start(void);

/* The calling thread's data: LIBOS_CHANNEL_ROOM bytes of untrusted memory. */
uint8_t *libos_io_data(void);

/* The address that came with the latest answer, copied to `to`; its length, or 0 for one that cannot be. */
uint32_t libos_io_address(uint8_t to[LIBOS_ADDRESS_ROOM]);
void libos_io_put_address(const uint8_t *from, uint32_t length);

/* Carries out an operation whose arguments may wait; the result is the host's word. */
int64_t libos_io(uint32_t op, const uint64_t argument[6]);

/* The same for one that waits: libos_unpark ends it with IO_WOKEN, also when that came before. */
int64_t libos_io_waiting(uint32_t op, const uint64_t argument[6]);

/* core's requests from OP_IO on (core/net/host.ts); those that need no more than a channel touch neither FS nor vectors. */
bool libos_by_channel(uint64_t op);
int64_t libos_serve_io(uint64_t op, const uint64_t a[6], uint8_t *memory, uint64_t size);

#endif
