/* The host's half of the gate. Everything read from the page is untrusted; what steers the waiting is kept here. */
#include "gate.h"
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_MIN_CYCLES 1200u
#define YIELDS 3
#define YIELD_CYCLES 60000u
#define YIELD_WORTH_CYCLES 15000u
/* A thread takes this long to arrive on another CPU. */
#define TRANSIT_CYCLES 250000u

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

/* The beginning of a small file as text; 0 when it cannot be read. */
static int read_text(const char *path, char *out, size_t capacity) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, out, capacity - 1);
  close(fd);
  if (length <= 0) return 0;
  out[length] = 0;
  return 1;
}

/* 1 when the process of a pidfd is stopped by a signal or a tracer. */
int nsgx_process_stopped(int pidfd) {
  char path[40], text[512];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
  if (!read_text(path, text, sizeof text)) return 0;
  const char *line = strstr(text, "\nPid:");
  int pid = line ? atoi(line + 5) : 0;
  if (pid <= 0) return 0;
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (!read_text(path, text, sizeof text)) return 0;
  const char *name_end = strrchr(text, ')');
  return name_end && name_end[1] == ' ' && (name_end[2] == 'T' || name_end[2] == 't');
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
 * The runner's thread is on this CPU: let it run. With several CPUs sleeping would make the kernel move this thread
 * to an idle one at its wake-up, which costs more than any number of fruitless yields; with one, the next entries
 * sleep at once where the scheduler does not honour the wish.
 */
static int yield_for_answer(struct host_gate *g, struct gate *p, u64 start, u32 limit) {
  if (g->yields_off) {
    g->yields_off--;
    return 0;
  }
  for (u32 i = 0; g->usable_cpus > 1 ? __rdtsc() - start < limit : i < YIELDS; i++) {
    sched_yield();
    if (READ(p->response_seq) == g->seq) {
      g->yields_off_for = 0;
      return 1;
    }
    if (READ(p->progress_state) != PROGRESS_IDLE) return 0;
  }
  if (g->usable_cpus > 1) return 0;
  g->yields_off_for = g->yields_off_for ? (g->yields_off_for < 64 ? g->yields_off_for * 2 : 64) : 4;
  g->yields_off = g->yields_off_for;
  return 0;
}

#define LOST 0
#define ANSWERED 1
#define LATE 2

/* LATE after `limit_ns` (0: none) without an answer. */
static int sleep_for_answer(struct host_gate *g, struct gate *p, long limit_ns) {
  const struct timespec timeout = { 0, limit_ns ? limit_ns : HOST_WAIT_NS };
  g->sleeps++;
  atomic_exchange((_Atomic u32 *)&p->host_asleep, 1);
  for (;;) {
    u32 seen = READ(p->response_seq);
    if (seen == g->seq) break;
    if (READ(p->progress_state) == PROGRESS_LOST) {
      WRITE(p->host_asleep, 0);
      return LOST;
    }
    long result = futex(&p->response_seq, FUTEX_WAIT, seen, &timeout);
    if (result < 0 && errno == ETIMEDOUT && (limit_ns || peer_gone(g))) {
      WRITE(p->host_asleep, 0);
      return limit_ns && !peer_gone(g) ? LATE : LOST;
    }
  }
  WRITE(p->host_asleep, 0);
  return ANSWERED;
}

/* The runner says how long it took: twice that is worth spinning for the next time, within the limit. */
static u32 answer(struct host_gate *g, struct gate *p) {
  u64 wanted = READ(p->response_cycles) * 2ull + SPIN_MIN_CYCLES;
  if (wanted / 2 <= g->spin_max) g->spin = wanted < g->spin_max ? (u32)wanted : g->spin_max;
  return READ(p->response_kind);
}

/*
 * Sleeps on this CPU: the kernel would rather wake this thread on an idle one, and waking an idle CPU of a virtual
 * machine costs several times what changing the affinity twice does.
 */
static int sleep_here(struct host_gate *g, struct gate *p, u32 cpu) {
  cpu_set_t before, one;
  CPU_ZERO(&one);
  if (cpu < CPU_SETSIZE) CPU_SET(cpu, &one);
  int pinned = sched_getaffinity(0, sizeof before, &before) == 0 && CPU_COUNT(&before) > 1 &&
               sched_setaffinity(0, sizeof one, &one) == 0;
  int answered = sleep_for_answer(g, p, 0);
  if (pinned) sched_setaffinity(0, sizeof before, &before);
  return answered;
}

/* Waits without sleeping, in the way that fits where the runner's thread is. */
static int wait_awake(struct host_gate *g, struct gate *p, u32 cpu, int woken, u64 start) {
  u32 there = READ(p->runner_cpu);
  if (g->usable_cpus == 1 || there == cpu) {
    /* The scheduler makes yielding for a long entry as long again. */
    if (g->usable_cpus > 1 && READ(p->response_cycles) > YIELD_WORTH_CYCLES) return 0;
    return yield_for_answer(g, p, start, YIELD_CYCLES);
  }
  if (woken) return 0;
  if (there == NO_CPU) return yield_for_answer(g, p, start, TRANSIT_CYCLES);
  return spin(g, p, start);
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
  answered = wait_awake(g, p, cpu, publish_request(g, cpu, g->spin_max), start);
  if (!answered) {
    int here = g->usable_cpus > 1 && READ(p->runner_cpu) == cpu;
    if ((here ? sleep_here(g, p, cpu) : sleep_for_answer(g, p, 0)) == LOST) return EXIT_KIND_LOST;
  }
  return answer(g, p);
}

/*
 * As nsgx_gate_enter, for a thread that is there for this gate alone, while others want the CPUs as well: the runner's
 * thread stays on this one's CPU and they take turns by sleeping, so that handing over is one switch and nobody spins.
 */
u32 nsgx_gate_enter_near(struct host_gate *g, u32 function, u64 rdi, u64 rsi) {
  struct gate *p = g->page;
  u32 cpu;
  if (READ(p->progress_state) == PROGRESS_LOST) return EXIT_KIND_LOST;
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, rdi);
  WRITE(p->request_rsi, rsi);
  u64 start = now(&cpu);
  int woken = publish_request(g, cpu, 0);
  int answered = !woken && g->usable_cpus > 1 && READ(p->runner_cpu) != cpu && spin(g, p, start);
  if (!answered && sleep_for_answer(g, p, 0) == LOST) return EXIT_KIND_LOST;
  return answer(g, p);
}

/* Waits for the answer of an entry for at most `limit_us`: EXIT_KIND_NONE when there is none yet. */
u32 nsgx_gate_wait(struct host_gate *g, u32 limit_us) {
  struct gate *p = g->page;
  int result = READ(p->response_seq) == g->seq ? ANSWERED : sleep_for_answer(g, p, limit_us * 1000L);
  if (result != ANSWERED) return result == LATE ? EXIT_KIND_NONE : EXIT_KIND_LOST;
  u32 kind = answer(g, p);
  return kind == EXIT_KIND_NONE ? EXIT_KIND_LOST : kind;
}

/* As nsgx_gate_enter, but returns after `limit_us` at the latest; nsgx_gate_wait goes on waiting. */
u32 nsgx_gate_enter_for(struct host_gate *g, u32 function, u64 rdi, u64 rsi, u32 limit_us) {
  struct gate *p = g->page;
  u32 cpu;
  if (READ(p->progress_state) == PROGRESS_LOST) return EXIT_KIND_LOST;
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, rdi);
  WRITE(p->request_rsi, rsi);
  u64 start = now(&cpu);
  if (wait_awake(g, p, cpu, publish_request(g, cpu, g->spin_max), start)) return answer(g, p);
  return nsgx_gate_wait(g, limit_us);
}

/* One round trip of the floor measurement. */
void nsgx_floor_enter(u64 page) {
  struct floor *f = (struct floor *)page;
  floor_set(f, FLOOR_CALL, &f->server_asleep);
  floor_await(f, FLOOR_DONE, f->spin, &f->caller_asleep);
}
