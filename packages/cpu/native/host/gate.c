/* The host's half of the gate. Everything read from the page is untrusted; what steers the waiting is kept here. */
#include "floor.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include "layout.h"

#define READ(place) (*(volatile __typeof__(place) *)&(place))
#define WRITE(place, value) (*(volatile __typeof__(place) *)&(place) = (value))
#define SPIN_MIN_CYCLES 1200u
#define YIELDS 3
#define WAIT_NS 20000000L

/* Private to the host process. */
struct host_gate {
  struct gate *page;
  u32 seq, spin, spin_max;
  u32 yields_off, yields_off_for; /* entries for which yielding is not tried */
  int peer; /* pidfd of the cvm, or -1 */
  u32 usable_cpus;
  u64 calls, sleeps, wakes;
};

/* One asynchronous entry, run on a thread of the caller's pool. */
struct gate_job {
  u64 gate;
  u32 function, kind;
  u64 rdi, rsi, rdx, r8, r9, rsp, rbp;
  u64 out[6];
};
_Static_assert(sizeof(struct gate_job) == 120, "gate_job");

struct host_gate *nsgx_gate_open(u64 page, int peer, u32 spin_max);
void nsgx_gate_close(struct host_gate *g);
u32 nsgx_gate_enter(struct host_gate *g, u32 function, u64 rdi, u64 rsi);
int nsgx_gate_run_job(struct gate_job *job);
void nsgx_gate_counters(struct host_gate *g, u64 *out);
void nsgx_floor_enter(u64 page);

static long futex(u32 *word, int op, u32 value, const struct timespec *timeout) {
  return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static u64 now(u32 *cpu) {
  u32 aux;
  u64 tsc = __rdtscp(&aux);
  *cpu = aux & 0xfff;
  return tsc;
}

static int peer_gone(const struct host_gate *g) {
  if (g->peer < 0) return 0;
  struct pollfd p = { g->peer, POLLIN, 0 };
  return poll(&p, 1, 0) > 0;
}

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
  const struct timespec timeout = { 0, WAIT_NS };
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
  if (READ(p->host_cpu) != cpu) WRITE(p->host_cpu, cpu);
  g->seq++;
  g->calls++;
  atomic_exchange((_Atomic u32 *)&p->request_seq, g->seq);
  if (READ(p->runner_asleep)) {
    g->wakes++;
    futex(&p->request_seq, FUTEX_WAKE, 1, NULL);
    answered = here(g, p, cpu) && yield_for_answer(g, p);
  } else {
    answered = here(g, p, cpu) ? yield_for_answer(g, p) : spin(g, p, start);
  }
  if (!answered && !sleep_for_answer(g, p)) return EXIT_KIND_LOST;
  return answer(g, p);
}

/* An entry for a thread of a pool: all registers from the job, results into it. */
int nsgx_gate_run_job(struct gate_job *job) {
  struct host_gate *g = (struct host_gate *)job->gate;
  struct gate *p = g->page;
  WRITE(p->request_rdx, job->rdx);
  WRITE(p->request_r8, job->r8);
  WRITE(p->request_r9, job->r9);
  WRITE(p->request_rsp, job->rsp);
  WRITE(p->request_rbp, job->rbp);
  job->kind = nsgx_gate_enter(g, job->function, job->rdi, job->rsi);
  job->out[0] = READ(p->response_rdi);
  job->out[1] = READ(p->response_rsi);
  job->out[2] = READ(p->response_rdx);
  job->out[3] = READ(p->response_r8);
  job->out[4] = READ(p->response_r9);
  job->out[5] = READ(p->response_rbx);
  return (int)job->kind;
}

/* One round trip of the floor measurement. */
void nsgx_floor_enter(u64 page) {
  struct floor *f = (struct floor *)page;
  floor_set(f, FLOOR_CALL, &f->server_asleep);
  floor_await(f, FLOOR_DONE, f->spin, &f->caller_asleep);
}
