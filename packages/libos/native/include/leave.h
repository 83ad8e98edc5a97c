/* Leaving the enclave for the host's answer to a channel, and for where the channels are. */
#ifndef LIBOS_LEAVE_H
#define LIBOS_LEAVE_H

#include <stdbool.h>
#include <stdint.h>

/* False when the host gives no answer of that form. */
bool libos_leave_for_facts(uint64_t facts[3]);
bool libos_leave_for_io(uint32_t slot);
/* What makes and configures descriptors: the answer's bytes behind its result go to `to`, `*length` (room, then how many). */
int64_t libos_leave_for_net(uint32_t op, uint32_t fd, int64_t a, int64_t b, const uint8_t *data, uint32_t data_length,
                            uint8_t *to, uint32_t *length);

#endif
