/* The transport `gate`: operations on granted descriptors that the runner of this software machine makes itself. No other
 * processor has that. */
#ifndef LIBOS_GATE_H
#define LIBOS_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* Carries an operation of channel.h out where the runner can; false leaves it to the channel. */
bool libos_gate_io(uint32_t op, const uint64_t a[6], int64_t *result);

#endif
