/* ECALLs and commands at CSSA 0. */
#include <stdlib.h>

#include "runtime.h"

#define MAX_DEPTH 8
#define MIN_STACK 8192
#define SMALL_REQUEST 512

const struct nsgx_host_codes nsgx_host_codes = {NSGX_BAD_COMMAND, NSGX_CRASHED, NSGX_NO_EXCEPTION};

typedef uint64_t (*raw_bridge)(nsgx_reader *request, nsgx_writer *response);

static void drop_kept(struct thread_data *thread) {
    if (thread->kept != NULL) {
        nsgx_wipe(thread->kept, thread->kept_length);
        free(thread->kept);
        thread->kept = NULL;
        thread->kept_length = 0;
    }
}

void *nsgx_call_alloc(size_t size) {
    struct nsgx_call *call = nsgx_thread()->call;
    struct call_block *block = NULL;
    if (call == NULL) return NULL;
    if (size <= SIZE_MAX - sizeof *block) block = malloc(sizeof *block + size);
    if (block == NULL) {
        call->failure = NSGX_OUT_OF_MEMORY;
        return NULL;
    }
    block->next = call->blocks;
    block->size = size;
    call->blocks = block;
    return block + 1;
}

void nsgx_fail(uint32_t code) {
    struct nsgx_call *call = nsgx_thread()->call;
    if (call != NULL) call->failure = NSGX_FAILED + (code & 0xffff);
}

nsgx_string nsgx_text(const char *zero_terminated) {
    return (nsgx_string){zero_terminated, strlen(zero_terminated)};
}

static void call_end(struct thread_data *thread, struct nsgx_call *call) {
    for (struct call_block *block = call->blocks; block != NULL;) {
        struct call_block *next = block->next;
        nsgx_wipe(block, sizeof *block + block->size);
        free(block);
        block = next;
    }
    thread->call = call->outer;
    thread->depth--;
}

/* Writes the two results into the host's structure: its range was checked when it was copied in. */
static uint64_t answer(uint64_t outside, uint64_t status, uint64_t length) {
    uint64_t results[2] = {length, status};
    memcpy((uint8_t *)outside + offsetof(struct ecall_ms, response_length), results, sizeof results);
    return status;
}

/* Hands out what the writer holds (the response buffer was checked), or keeps it for FETCH when it is too small. */
static uint64_t respond(struct thread_data *thread, const struct ecall_ms *ms, uint64_t outside, nsgx_writer *writer) {
    if (writer->length > ms->response_capacity) {
        uint8_t *kept = malloc(writer->length);
        if (kept == NULL) return answer(outside, NSGX_OUT_OF_MEMORY, 0);
        memcpy(kept, writer->data, writer->length);
        thread->kept = kept;
        thread->kept_length = writer->length;
        return answer(outside, NSGX_RESPONSE_TOO_LARGE, writer->length);
    }
    if (writer->length > 0) memcpy((void *)ms->response, writer->data, writer->length);
    return answer(outside, NSGX_OK, writer->length);
}

static uint64_t run(struct thread_data *thread, const struct ecall_ms *ms, uint64_t outside, const uint8_t *request,
                    nsgx_ecall_bridge bridge, raw_bridge raw) {
    struct nsgx_call call = {thread->call, NULL, 0, ms->ocall_buffer, ms->ocall_capacity};
    thread->call = &call;
    thread->depth++;
    nsgx_reader reader = {request, request + ms->request_length, NSGX_OK};
    nsgx_writer writer;
    nsgx_writer_start(&writer);
    if (raw != NULL)
        call.failure = raw(&reader, &writer);
    else
        bridge(&reader, &writer);
    uint64_t status = reader.status;
    if (status == NSGX_OK) status = call.failure;
    if (status == NSGX_OK) status = writer.status;
    status = status == NSGX_OK ? respond(thread, ms, outside, &writer) : answer(outside, status, 0);
    nsgx_writer_free(&writer);
    call_end(thread, &call);
    return status;
}

static uint64_t ecall(struct thread_data *thread, uint64_t outside, nsgx_ecall_bridge bridge, raw_bridge raw) {
    struct ecall_ms ms;
    if (!nsgx_copy_in(&ms, (const void *)outside, sizeof ms)) return NSGX_INVALID_POINTER;
    uint64_t here = (uint64_t)__builtin_frame_address(0) - (uint64_t)__image_base;
    if (thread->depth >= MAX_DEPTH || here < thread->stack_low + MIN_STACK) return answer(outside, NSGX_TOO_DEEP, 0);
    if ((ms.request_length > 0 && !nsgx_range_outside(ms.request, ms.request_length)) ||
        (ms.response_capacity > 0 && !nsgx_range_outside(ms.response, ms.response_capacity)) ||
        (ms.ocall_capacity > 0 && !nsgx_range_outside(ms.ocall_buffer, ms.ocall_capacity)))
        return answer(outside, NSGX_INVALID_POINTER, 0);
    nsgx_speculation_barrier();
    drop_kept(thread);

    if (ms.request_length <= SMALL_REQUEST) {
        uint8_t small[SMALL_REQUEST];
        memcpy(small, (const void *)ms.request, ms.request_length);
        uint64_t status = run(thread, &ms, outside, small, bridge, raw);
        nsgx_wipe(small, ms.request_length);
        return status;
    }
    uint8_t *request = ms.request_length > nsgx_layout.heap_limit ? NULL : malloc(ms.request_length);
    if (request == NULL) return answer(outside, NSGX_OUT_OF_MEMORY, 0);
    memcpy(request, (const void *)ms.request, ms.request_length);
    uint64_t status = run(thread, &ms, outside, request, bridge, raw);
    nsgx_wipe(request, ms.request_length);
    free(request);
    return status;
}

static uint64_t fetch(struct thread_data *thread, uint64_t outside) {
    struct ecall_ms ms;
    if (!nsgx_copy_in(&ms, (const void *)outside, sizeof ms)) return NSGX_INVALID_POINTER;
    if (thread->kept == NULL) return answer(outside, NSGX_NOTHING_KEPT, 0);
    if (ms.response_capacity < thread->kept_length)
        return answer(outside, NSGX_RESPONSE_TOO_LARGE, thread->kept_length);
    if (!nsgx_copy_out((void *)ms.response, thread->kept, thread->kept_length))
        return answer(outside, NSGX_INVALID_POINTER, 0);
    uint64_t length = thread->kept_length;
    drop_kept(thread);
    return answer(outside, NSGX_OK, length);
}

uint64_t nsgx_enter(int64_t command, uint64_t outside) {
    if (nsgx_state != STATE_READY) {
        if (nsgx_state >= STATE_CRASHED) return NSGX_CRASHED;
        struct init_ms init = {1, 0};
        if (command == COMMAND_INIT && outside != 0) {
            if (!nsgx_copy_in(&init, (const void *)outside, sizeof init)) return NSGX_INVALID_POINTER;
            if (init.version != 1) return NSGX_INVALID_REQUEST;
        }
        uint64_t status = nsgx_start((uint32_t)init.missing);
        if (status != NSGX_OK) return status;
    }
    struct thread_data *thread = nsgx_thread();
    if (command >= 0) {
        if ((uint64_t)command >= nsgx_ecall_count) {
            struct ecall_ms ms;
            if (!nsgx_copy_in(&ms, (const void *)outside, sizeof ms)) return NSGX_INVALID_POINTER;
            return answer(outside, NSGX_UNKNOWN_CALL, 0);
        }
        nsgx_speculation_barrier();
        return ecall(thread, outside, nsgx_ecall_table[command], NULL);
    }
    switch (command) {
        case COMMAND_INIT:
            return NSGX_OK;
        case COMMAND_UNINIT:
            nsgx_state = STATE_ENDED;
            return NSGX_OK;
        case COMMAND_FETCH:
            return fetch(thread, outside);
        case COMMAND_REPORT:
            return ecall(thread, outside, NULL, nsgx_command_report);
        case COMMAND_ADD_THREAD:
            return ecall(thread, outside, NULL, nsgx_command_add_thread);
        case COMMAND_ACCEPT_THREAD:
            return ecall(thread, outside, NULL, nsgx_command_accept_thread);
        case COMMAND_TRIM_HEAP:
            return ecall(thread, outside, NULL, nsgx_command_trim_heap);
        case COMMAND_ACCEPT_TRIM:
            return ecall(thread, outside, NULL, nsgx_command_accept_trim);
        default:
            return NSGX_BAD_COMMAND;
    }
}
