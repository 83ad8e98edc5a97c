/* The host's bookkeeping for one gate. Everything in the page is untrusted; what steers the waiting is kept here. */
#ifndef NSGX_GATE_H
#define NSGX_GATE_H
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>
#include "layout.h"

#define READ(place) (*(volatile __typeof__(place) *)&(place))
#define WRITE(place, value) (*(volatile __typeof__(place) *)&(place) = (value))
/* Longest sleep before the host looks again whether its machine is still there. */
#define HOST_WAIT_NS 20000000L

/* Private to the host process. */
struct host_gate {
  struct gate *page;
  u32 seq, spin, spin_max;
  u32 yields_off, yields_off_for; /* entries for which yielding is not tried */
  int peer; /* pidfd of the cvm, or -1 */
  u32 usable_cpus;
  u32 apart; /* entries for which the runner's thread may be on any CPU */
  u64 calls, sleeps, wakes;
};

struct host_gate *nsgx_gate_open(u64 page, int peer, u32 spin_max);
void nsgx_gate_close(struct host_gate *g);
u32 nsgx_gate_enter(struct host_gate *g, u32 function, u64 rdi, u64 rsi);
u32 nsgx_gate_enter_near(struct host_gate *g, u32 function, u64 rdi, u64 rsi);
u32 nsgx_gate_enter_for(struct host_gate *g, u32 function, u64 rdi, u64 rsi, u32 limit_us);
u32 nsgx_gate_wait(struct host_gate *g, u32 limit_us);
void nsgx_gate_counters(struct host_gate *g, u64 *out);
void nsgx_floor_enter(u64 page);

static inline long futex(u32 *word, int op, u32 value, const struct timespec *timeout) {
  return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static inline u64 now(u32 *cpu) {
  u32 aux;
  u64 tsc = __rdtscp(&aux);
  *cpu = aux & 0xfff;
  return tsc;
}

int nsgx_process_stopped(int pidfd);

/* The cvm has ended; or the enclave waits for it and it is stopped, so that no answer will come. */
static inline int peer_gone(const struct host_gate *g) {
  if (g->peer < 0) return 0;
  struct pollfd p = { g->peer, POLLIN, 0 };
  if (poll(&p, 1, 0) > 0) return 1;
  return READ(g->page->progress_state) == PROGRESS_IN_MONITOR && nsgx_process_stopped(g->peer);
}

/* Makes the filled request line visible; returns 1 when the runner's thread slept and was woken. */
static inline int publish_request(struct host_gate *g, u32 cpu, u32 patience) {
  struct gate *p = g->page;
  if (READ(p->host_cpu) != cpu) WRITE(p->host_cpu, cpu);
  if (READ(p->host_patience) != patience) WRITE(p->host_patience, patience);
  g->seq++;
  g->calls++;
  atomic_exchange((_Atomic u32 *)&p->request_seq, g->seq);
  if (!READ(p->runner_asleep)) return 0;
  g->wakes++;
  futex(&p->request_seq, FUTEX_WAKE, 1, NULL);
  return 1;
}
#endif
