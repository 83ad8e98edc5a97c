/* Many threads and a large heap, for measurements. */
#include "nsgx_interface.h"

void empty(void) {}

nsgx_bytes echo(nsgx_bytes data) { return data; }

void call_host(uint64_t times) {
    for (uint64_t i = 0; i < times; i++) {
        nsgx_status status = host_nothing();
        if (status != NSGX_OK) {
            nsgx_fail(status);
            return;
        }
    }
}
