/*
 * Calls of Intel's SDK without a transition: tasks in guest RAM, announced by bits ("lines") that the other side polls.
 * All of the shared memory is untrusted; addresses, counts and what steers the waiting are kept here.
 * Source of layout and protocol: Intel SGX SDK, sl_fcall_mngr.h, sl_siglines.h.
 */
#ifndef NSGX_SWITCHLESS_H
#define NSGX_SWITCHLESS_H
#include "gate.h"

#define LINES_PER_WORD 64u
#define MAX_WORDS 8u
#define MAX_TRUSTED_WORKERS 64u

/* What a wait ended with: an EXIT_KIND of the gate, or one of these; a line stands above the lowest byte. */
enum { WAIT_OCALL = 16, WAIT_WORKER = 17, WAIT_DONE = 18, WAIT_FALLBACK = 19 };
enum { TASK_INIT = 0, TASK_SUBMITTED = 1, TASK_ACCEPTED = 2, TASK_DONE = 3 };

/* Tasks lie without padding, so most are not aligned to 8. */
struct task {
  u64 status, function, data;
  u32 result;
} __attribute__((packed));

/* How an untrusted runtime configures its half; see packages/cpu/src/host/switchless.ts. */
struct switchless_setup {
  u64 ocall_events, ocall_tasks, ecall_events, ecall_tasks;
  u64 missed_ocalls; /* the word that the enclave sets when it left for an OCALL that nobody took */
  u64 words, fallback_tries, sleep_tries;
};

/* Private to the host process. */
struct switchless {
  /* Read by the untrusted runtime through a view. */
  u32 result; /* of the last ECALL that was done */
  u32 line; /* of the last ECALL that was put */
  u64 ecalls, ecalls_missed, ocalls;
  /* Its own. */
  struct switchless_setup at;
  u64 free_lines[MAX_WORDS];
  u32 tries[MAX_WORDS * LINES_PER_WORD]; /* left before an ECALL's line is taken back */
  struct host_gate *workers[MAX_TRUSTED_WORKERS];
  u32 worker_count;
  _Atomic u32 stop, watching;
};

struct switchless *nsgx_switchless_open(const struct switchless_setup *setup);
void nsgx_switchless_close(struct switchless *s);
int nsgx_switchless_worker(struct switchless *s, struct host_gate *g);
void nsgx_gate_post(struct host_gate *g, u32 function, u64 rdi, u64 rsi);
u32 nsgx_gate_poll(struct host_gate *g, u32 thoroughly);
u32 nsgx_switchless_enter(struct switchless *s, struct host_gate *g, u32 function, u64 rdi, u64 rsi, u32 limit_us);
u32 nsgx_switchless_wait(struct switchless *s, struct host_gate *g, u32 limit_us);
u32 nsgx_switchless_answer(struct switchless *s, struct host_gate *g, u32 line, u32 result, u32 limit_us);
void nsgx_switchless_finish(struct switchless *s, u32 line, u32 result);
u32 nsgx_switchless_next(struct switchless *s, u32 tries);
u32 nsgx_switchless_call(struct switchless *s, u64 function, u64 data, u32 limit_us);
u32 nsgx_switchless_await(struct switchless *s, u32 line, u32 limit_us);
int64_t nsgx_switchless_watch(struct switchless *s);
void nsgx_switchless_watch_again(struct switchless *s);
void nsgx_switchless_stop(struct switchless *s, u32 wait);
#endif
