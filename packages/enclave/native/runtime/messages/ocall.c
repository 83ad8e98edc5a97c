/* OCALLs: the request goes into the buffer that the host gave with the ECALL, the answer is copied once and then used. */
#include "runtime.h"

/* Sends the request; NSGX_OK when `ms` then is an answer of a length that is possible. */
static nsgx_status exchange(uint32_t index, const nsgx_writer *request, struct ocall_ms *ms) {
    struct nsgx_call *call = nsgx_thread()->call;
    if (request->status != NSGX_OK) return request->status;
    if (call == NULL) return NSGX_OCALL_FAILED;

    uint64_t buffer = (call->ocall_buffer + 7) & ~7ull;
    uint64_t skipped = buffer - call->ocall_buffer;
    if (call->ocall_capacity < skipped + sizeof(struct ocall_ms) ||
        call->ocall_capacity - skipped - sizeof(struct ocall_ms) < request->length)
        return NSGX_OUT_OF_MEMORY;
    uint64_t body = buffer + sizeof(struct ocall_ms);
    uint64_t answer = (body + request->length + 7) & ~7ull;
    uint64_t end = call->ocall_buffer + call->ocall_capacity;
    *ms = (struct ocall_ms){body, request->length, answer, answer < end ? end - answer : 0, 0, 0};
    if (!nsgx_copy_out((void *)body, request->data, request->length) ||
        !nsgx_copy_out((void *)buffer, ms, sizeof *ms))
        return NSGX_OCALL_FAILED;

    nsgx_exit_ocall(index, (void *)buffer);

    if (!nsgx_copy_in(ms, (const void *)buffer, sizeof *ms)) return NSGX_OCALL_FAILED;
    return ms->status != 0 || ms->response_length > ms->response_capacity ? NSGX_OCALL_FAILED : NSGX_OK;
}

nsgx_status nsgx_ocall(uint32_t index, const nsgx_writer *request, nsgx_reader *response) {
    struct ocall_ms ms;
    *response = (nsgx_reader){NULL, NULL, NSGX_OCALL_FAILED};
    nsgx_status status = exchange(index, request, &ms);
    if (status != NSGX_OK) return response->status = status;
    if (ms.response_length > nsgx_layout.heap_limit) return response->status = NSGX_OUT_OF_MEMORY;
    uint8_t *copy = nsgx_call_alloc(ms.response_length);
    if (copy == NULL) return response->status = NSGX_OUT_OF_MEMORY;
    if (!nsgx_copy_in(copy, (const void *)ms.response, ms.response_length)) return NSGX_OCALL_FAILED;
    *response = (nsgx_reader){copy, copy + ms.response_length, NSGX_OK};
    return NSGX_OK;
}

nsgx_status nsgx_ocall_into(uint32_t index, const nsgx_writer *request, void *to, size_t *length) {
    struct ocall_ms ms;
    size_t room = *length;
    *length = 0;
    nsgx_status status = exchange(index, request, &ms);
    if (status != NSGX_OK) return status;
    if (ms.response_length > room) return NSGX_RESPONSE_TOO_LARGE;
    if (!nsgx_copy_in(to, (const void *)ms.response, ms.response_length)) return NSGX_OCALL_FAILED;
    *length = ms.response_length;
    return NSGX_OK;
}
