/* A store's key from a key server, over a channel that this enclave attests (docs/LIBOS.md, "Keys from a key server"). */
#ifndef LIBOS_PROVISION_H
#define LIBOS_PROVISION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Asks the server that the image names for the key that it names, and keeps it (store-key.h); false, with a note, when there
 * is none. `source` is the server's point (64 bytes) and the name. */
bool libos_provision(const uint8_t *source, uint32_t length);

/* Whether report data are those with which keys are asked for. */
bool libos_asks_for_key(const uint8_t data[64]);

/* host.c: carries a message to the key server and its answer back; how many bytes, 0 for none. */
size_t libos_host_provision(const uint8_t *message, size_t length, uint8_t *to, size_t room);

#endif
