/* The host's half of the gate. Everything read from the page is untrusted; what steers the waiting is kept here. */
#include "gate.h"
#include "floor.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define SPIN_MIN_CYCLES 1200u
#define YIELDS 3

struct host_gate *nsgx_gate_open(u64 page, int peer, u32 spin_max) {
  struct host_gate *g = calloc(1, sizeof *g);
  cpu_set_t set;
  if (!g) return NULL;
  g->page = (struct gate *)page;
  g->peer = peer;
  g->seq = READ(g->page->request_seq);
  g->spin = g->spin_max = spin_max;
  WRITE(g->page->host_patience, spin_max);
  g->usable_cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? (u32)CPU_COUNT(&set) : 1;
  return g;
}

void nsgx_gate_close(struct host_gate *g) { free(g); }

void nsgx_gate_counters(struct host_gate *g, u64 *out) {
  out[0] = g->calls;
  out[1] = g->sleeps;
  out[2] = g->wakes;
}

/* 1 when the answer came, 0 when it is time to sleep. */
static int spin(struct host_gate *g, struct gate *p, u64 start) {
  do {
    for (int i = 0; i < 4; i++) {
      if (READ(p->response_seq) == g->seq) {
        return 1;
      }
      _mm_pause();
    }
    if (READ(p->progress_state) != PROGRESS_IDLE) break;
  } while (__rdtsc() - start < g->spin);
  if (g->spin > SPIN_MIN_CYCLES) g->spin = g->spin / 2 < SPIN_MIN_CYCLES ? SPIN_MIN_CYCLES : g->spin / 2;
  return 0;
}

/*
 * The runner's thread is on this CPU: let it run. Sleeping would let the kernel move this thread to another CPU.
 * Where the scheduler does not honour the wish, the next entries sleep at once.
 */
static int yield_for_answer(struct host_gate *g, struct gate *p) {
  if (g->yields_off) {
    g->yields_off--;
    return 0;
  }
  for (int i = 0; i < YIELDS; i++) {
    sched_yield();
    if (READ(p->response_seq) == g->seq) {
      g->yields_off_for = 0;
      return 1;
    }
    if (READ(p->progress_state) != PROGRESS_IDLE) return 0;
  }
  g->yields_off_for = g->yields_off_for ? (g->yields_off_for < 64 ? g->yields_off_for * 2 : 64) : 4;
  g->yields_off = g->yields_off_for;
  return 0;
}

/* 0 when the enclave is lost. */
static int sleep_for_answer(struct host_gate *g, struct gate *p) {
  const struct timespec timeout = { 0, HOST_WAIT_NS };
  g->sleeps++;
  atomic_exchange((_Atomic u32 *)&p->host_asleep, 1);
  for (;;) {
    u32 seen = READ(p->response_seq);
    if (seen == g->seq) break;
    if (READ(p->progress_state) == PROGRESS_LOST) {
      WRITE(p->host_asleep, 0);
      return 0;
    }
    long result = futex(&p->response_seq, FUTEX_WAIT, seen, &timeout);
    if (result < 0 && errno == ETIMEDOUT && peer_gone(g)) {
      WRITE(p->host_asleep, 0);
      return 0;
    }
  }
  WRITE(p->host_asleep, 0);
  return 1;
}

/* The runner says how long it took: twice that is worth spinning for the next time, within the limit. */
static u32 answer(struct host_gate *g, struct gate *p) {
  u64 wanted = READ(p->response_cycles) * 2ull + SPIN_MIN_CYCLES;
  if (wanted / 2 <= g->spin_max) g->spin = wanted < g->spin_max ? (u32)wanted : g->spin_max;
  return READ(p->response_kind);
}

static int here(const struct host_gate *g, struct gate *p, u32 cpu) {
  return g->usable_cpus == 1 || READ(p->runner_cpu) == cpu;
}

/*
 * EENTER (2) or ERESUME (3) with RDI and RSI; the other registers are whatever the request line holds. Blocks until
 * the enclave is left. Returns an EXIT_KIND; the registers are in the response line.
 */
u32 nsgx_gate_enter(struct host_gate *g, u32 function, u64 rdi, u64 rsi) {
  struct gate *p = g->page;
  u32 cpu;
  int answered;
  if (READ(p->progress_state) == PROGRESS_LOST) return EXIT_KIND_LOST;
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, rdi);
  WRITE(p->request_rsi, rsi);
  u64 start = now(&cpu);
  if (publish_request(g, cpu, g->spin_max)) {
    answered = here(g, p, cpu) && yield_for_answer(g, p);
  } else {
    answered = here(g, p, cpu) ? yield_for_answer(g, p) : spin(g, p, start);
  }
  if (!answered && !sleep_for_answer(g, p)) return EXIT_KIND_LOST;
  return answer(g, p);
}

/* One round trip of the floor measurement. */
void nsgx_floor_enter(u64 page) {
  struct floor *f = (struct floor *)page;
  floor_set(f, FLOOR_CALL, &f->server_asleep);
  floor_await(f, FLOOR_DONE, f->spin, &f->caller_asleep);
}
