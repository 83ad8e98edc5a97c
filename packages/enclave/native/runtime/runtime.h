/* Inside of the trusted runtime; not for enclave authors. */
#ifndef NSGX_RUNTIME_H
#define NSGX_RUNTIME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "nsgx.h"
#include "nsgx_edmm.h"
#include "nsgx_message.h"
#include "thread.h"

/* Written by the tool chain after linking; read-only and measured. Offsets from the enclave's base. */
struct nsgx_layout {
    uint64_t version;      /* 1 */
    uint64_t image_size;   /* SECS.SIZE */
    uint64_t heap_offset;
    uint64_t heap_size;
    uint64_t thread_count;
    uint64_t first_thread; /* thread data of thread 0 */
    uint64_t thread_stride;
    uint64_t writable_offset; /* .data and the like: where relocations may point */
    uint64_t writable_size;
    uint64_t heap_limit;   /* bytes that the heap may grow to */
    uint64_t thread_limit; /* threads that there is room for */
    uint64_t ssa_frames;   /* of each thread */
    uint64_t entry;        /* OENTRY */
    uint64_t locals_image; /* first values of thread-local storage, and its sizes: of these, and in all */
    uint64_t locals_image_size;
    uint64_t locals_size;
    uint64_t stack_top_below; /* distances of a thread's other parts, below its thread data */
    uint64_t stack_low_below;
    uint64_t exception_stack_below;
    uint64_t ssa_below;
};
_Static_assert(sizeof(struct nsgx_layout) == 160, "entry.S reserves 160 bytes");
_Static_assert(offsetof(struct nsgx_layout, stack_top_below) == 128, "entry.S");
_Static_assert(offsetof(struct nsgx_layout, first_thread) == 40, "entry.S");
_Static_assert(offsetof(struct nsgx_layout, thread_stride) == 48, "entry.S");
extern const struct nsgx_layout nsgx_layout;

/* Marshalling structure of an ECALL, in the host's memory. */
struct ecall_ms {
    uint64_t request;
    uint64_t request_length;
    uint64_t response;
    uint64_t response_capacity;
    uint64_t response_length; /* out */
    uint64_t status;          /* out */
    uint64_t ocall_buffer;
    uint64_t ocall_capacity;
};
_Static_assert(sizeof(struct ecall_ms) == 64, "host interface");

/* Of an OCALL: made by the enclave at the start of the OCALL buffer, the request behind it. */
struct ocall_ms {
    uint64_t request;
    uint64_t request_length;
    uint64_t response;          /* the host may point it at other memory of its own */
    uint64_t response_capacity;
    uint64_t response_length;   /* out, by the host */
    uint64_t status;            /* out, by the host: 0 is success */
};
_Static_assert(sizeof(struct ocall_ms) == 48, "host interface");

struct init_ms {
    uint64_t version; /* 1 */
    uint64_t missing; /* MISSING_* bits: what the CPU lacks */
};
_Static_assert(sizeof(struct init_ms) == 16, "host interface");

struct call_block {
    struct call_block *next;
    uint64_t size;
};

/* One ECALL under way; on the stack of its thread. */
struct nsgx_call {
    struct nsgx_call *outer;
    struct call_block *blocks;
    uint64_t failure; /* 0, or the status to return */
    uint64_t ocall_buffer;
    uint64_t ocall_capacity;
};

struct ocall_frame;

struct thread_data {
    uint64_t self;
    uint64_t next_stack;
    uint64_t stack_top;
    uint64_t stack_low;
    uint64_t exception_stack;
    uint64_t canary;
    uint64_t ssa;
    uint64_t exit_target;
    uint64_t outside_rsp;
    uint64_t outside_rbp;
    uint64_t x_exit_target;
    uint64_t x_outside_rsp;
    uint64_t x_outside_rbp;
    uint32_t ocalls;
    uint32_t index;
    uint32_t exceptions;
    uint32_t depth;
    struct nsgx_call *call;
    uint8_t *kept;
    uint64_t kept_length;
    struct ocall_frame *ocall;
    uint64_t ecall_rsp;
};
_Static_assert(sizeof(struct thread_data) == TD_SIZE, "thread.h");
_Static_assert(offsetof(struct thread_data, next_stack) == TD_NEXT_STACK, "thread.h");
_Static_assert(offsetof(struct thread_data, canary) == TD_CANARY, "thread.h");
_Static_assert(offsetof(struct thread_data, exit_target) == TD_EXIT_TARGET, "thread.h");
_Static_assert(offsetof(struct thread_data, x_exit_target) == TD_X_EXIT_TARGET, "thread.h");
_Static_assert(offsetof(struct thread_data, ocalls) == TD_OCALLS, "thread.h");
_Static_assert(offsetof(struct thread_data, exceptions) == TD_EXCEPTIONS, "thread.h");
_Static_assert(offsetof(struct thread_data, call) == TD_CALL, "thread.h");
_Static_assert(offsetof(struct thread_data, kept_length) == TD_KEPT_LENGTH, "thread.h");
_Static_assert(offsetof(struct thread_data, ecall_rsp) == TD_ECALL_RSP, "thread.h");

extern uint8_t __image_base[];
extern volatile uint32_t nsgx_state;
extern volatile uint32_t nsgx_missing;

/* Valid after the first entry of the thread. */
static inline struct thread_data *nsgx_thread(void) {
    struct thread_data *self;
    __asm__("movq %%gs:0, %0" : "=r"(self));
    return self;
}

static inline void nsgx_speculation_barrier(void) { __asm__ volatile("lfence" ::: "memory"); }

/* Whether a range lies wholly outside, without stopping speculation: follow it with nsgx_speculation_barrier(). */
static inline bool nsgx_range_outside(uint64_t first, uint64_t length) {
    uint64_t base = (uint64_t)__image_base;
    uint64_t end = base + nsgx_layout.image_size;
    return first != 0 && first + length >= first && (first + length <= base || first >= end);
}

/* start.c */
uint64_t nsgx_start(uint32_t missing);
/* thread.c, called by entry.S at the first entry of a thread */
void nsgx_thread_start(struct thread_data *thread);
/* messages/dispatch.c or edl/dispatch.c, called by entry.S: ECALLs and commands at CSSA 0. Returns the status for the
 * host. */
uint64_t nsgx_enter(int64_t command, uint64_t outside);
/* The same: how the protocol writes what the parts common to both have to say to the host. */
struct nsgx_host_codes {
    uint32_t bad_command, crashed, no_exception;
};
_Static_assert(offsetof(struct nsgx_host_codes, crashed) == 4, "entry.S");
extern const struct nsgx_host_codes nsgx_host_codes;
/* messages/report.c */
uint64_t nsgx_command_report(nsgx_reader *request, nsgx_writer *response);
/* exception.c, called by entry.S */
uint64_t nsgx_exception_offered(void);
_Noreturn void nsgx_exception_handle(nsgx_exception *exception);
/* heap.c: `limit` bytes are the enclave's, of which the first `size` have pages. */
void nsgx_heap_start(uint8_t *memory, size_t size, size_t limit, uint64_t secret);
/* messages/heap-growth.c */
uint64_t nsgx_command_trim_heap(nsgx_reader *request, nsgx_writer *response);
uint64_t nsgx_command_accept_trim(nsgx_reader *request, nsgx_writer *response);
/* heap.c, for heap-growth.c: takes free pages off the end, down to the measured part; returns bytes, address in `at`. */
size_t nsgx_heap_detach(uint8_t **at);
void nsgx_heap_detached_gone(void);
/* messages/add-thread.c */
uint64_t nsgx_command_add_thread(nsgx_reader *request, nsgx_writer *response);
uint64_t nsgx_command_accept_thread(nsgx_reader *request, nsgx_writer *response);
/* crypto.c: the additional data come in two parts; the tag is for the caller to send or to compare. */
bool nsgx_gcm(bool encrypt, const void *key, size_t key_length, const uint8_t *iv, const void *header,
              size_t header_length, const void *aad, size_t aad_length, void *data, size_t length,
              uint8_t tag[NSGX_GCM_TAG]);
/* AES-128-CMAC (RFC 4493) over whole blocks, at least one. */
void nsgx_aes128_cmac(const uint8_t key[16], const void *data, size_t blocks, uint8_t mac[16]);
/* messages/message.c: bytes as they are. */
void nsgx_write_raw(nsgx_writer *writer, const void *data, size_t length);
/* entry.S: RSI of the ORET */
uint64_t nsgx_exit_ocall(uint64_t index, void *outside);
_Noreturn void nsgx_leave(uint64_t status);
void nsgx_exception_resumed(void);
extern uint8_t nsgx_entry[], nsgx_entry_end[];
uint64_t nsgx_leaf_egetkey(const void *request, void *key);
void nsgx_leaf_ereport(const void *target, const void *data, void *report);
uint64_t nsgx_leaf_eaccept(const void *secinfo, const void *page);
void nsgx_leaf_emodpe(const void *secinfo, const void *page);
uint64_t nsgx_leaf_eacceptcopy(const void *secinfo, const void *page, const void *source);

#endif
