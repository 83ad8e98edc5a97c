/* Plain exits: to whoever serves a channel, and to the host's policy for what makes and configures descriptors. */
#include "leave.h"
#include "libos.h"
#include "nsgx_message.h"

/* Positions in src/run/interface.ts. */
enum { CALL_IO_FACTS = 10, CALL_IO, CALL_NET };

#define ANSWER 8192u
#define EIO 5

static bool leave(uint32_t index, nsgx_writer *request, void *to, size_t *length) {
    nsgx_status status = nsgx_ocall_into(index, request, to, length);
    nsgx_writer_free(request);
    return status == NSGX_OK;
}

bool libos_leave_for_facts(uint64_t facts[3]) {
    struct {
        uint64_t length, facts[3];
    } answer;
    size_t length = sizeof answer;
    nsgx_writer request;
    nsgx_writer_start(&request);
    if (!leave(CALL_IO_FACTS, &request, &answer, &length) || length != sizeof answer || answer.length != 24) return false;
    memcpy(facts, answer.facts, 24);
    return true;
}

bool libos_leave_for_io(uint32_t slot) {
    size_t length = 0;
    nsgx_writer request;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, slot);
    return leave(CALL_IO, &request, NULL, &length);
}

int64_t libos_leave_for_net(uint32_t op, uint32_t fd, int64_t a, int64_t b, const uint8_t *data, uint32_t data_length,
                            uint8_t *to, uint32_t *length) {
    struct {
        uint64_t length;
        int64_t result;
        uint8_t data[ANSWER];
    } answer;
    size_t got = sizeof answer;
    nsgx_writer request;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, op);
    nsgx_write_u32(&request, fd);
    nsgx_write_i64(&request, a);
    nsgx_write_i64(&request, b);
    nsgx_write_bytes(&request, (nsgx_bytes){data, data_length});
    if (!leave(CALL_NET, &request, &answer, &got) || got < 16 || answer.length < 8 || answer.length > got - 8) return -EIO;
    uint64_t bytes = answer.length - 8;
    if (answer.result < -4095 || answer.result > INT32_MAX || bytes > *length) return -EIO;
    *length = (uint32_t)bytes;
    memcpy(to, answer.data, bytes);
    return answer.result;
}
