/* The command REPORT: every enclave can be attested without code of its author's. */
#include "runtime.h"

uint64_t nsgx_command_report(nsgx_reader *request, nsgx_writer *response) {
    nsgx_targetinfo target;
    uint8_t data[64];
    nsgx_report report;
    if (request->end - request->at != sizeof target + sizeof data) return NSGX_INVALID_REQUEST;
    memcpy(&target, request->at, sizeof target);
    memcpy(data, request->at + sizeof target, sizeof data);
    if (!nsgx_allow_report(&target, data)) return NSGX_FORBIDDEN;
    nsgx_ereport(&target, data, &report);
    nsgx_write_raw(response, &report, NSGX_REPORT_SIZE);
    return NSGX_OK;
}
