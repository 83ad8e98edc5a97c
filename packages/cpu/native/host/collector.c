/*
 * Asynchronous entries: the event loop's thread publishes requests itself; one thread of a pool waits for all of
 * them at once (futex_waitv), and the event loop's thread takes what is finished in batches.
 */
#include "gate.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 1024u
#define MAX_WAITERS 128u
#define CROWDED_NS 1000000L
#define SHORT_CYCLES 50000u
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct entry { struct host_gate *gate; u32 token; };
struct waiter { u64 value, address; u32 flags, reserved; };

struct collector {
  pthread_mutex_t lock;
  _Atomic u32 kick, waiting;
  u32 count;
  int look_at_peers;
  struct entry entries[MAX_ENTRIES];
};

/* Registers of a request, in the request line's order. */
struct registers { u64 rdi, rsi, rdx, r8, r9, rsp, rbp; };

struct collector *nsgx_collector_open(void);
void nsgx_collector_close(struct collector *c);
int nsgx_collector_add(struct collector *c, struct host_gate *g, u32 token, u32 function, const struct registers *r);
int64_t nsgx_collector_wait(struct collector *c);
u32 nsgx_collector_take(struct collector *c, u32 *out, u32 capacity, u32 yield);

struct collector *nsgx_collector_open(void) {
  struct collector *c = calloc(1, sizeof *c);
  if (c) pthread_mutex_init(&c->lock, NULL);
  return c;
}

void nsgx_collector_close(struct collector *c) { free(c); }

/*
 * Publishes an entry. Returns -1 when too many are under way; 1 when the runner's thread is on this CPU and its last
 * entry was short, so that giving up the CPU once probably brings the answer; else 0.
 */
int nsgx_collector_add(struct collector *c, struct host_gate *g, u32 token, u32 function, const struct registers *r) {
  struct gate *p = g->page;
  u32 cpu;
  if (c->count >= MAX_ENTRIES) return -1;
  now(&cpu);
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, r->rdi);
  WRITE(p->request_rsi, r->rsi);
  WRITE(p->request_rdx, r->rdx);
  WRITE(p->request_r8, r->r8);
  WRITE(p->request_r9, r->r9);
  WRITE(p->request_rsp, r->rsp);
  WRITE(p->request_rbp, r->rbp);
  int likely = READ(p->runner_cpu) == cpu && READ(p->response_cycles) - 1 < SHORT_CYCLES;
  publish_request(g, cpu, 0);
  pthread_mutex_lock(&c->lock);
  c->entries[c->count++] = (struct entry){ g, token };
  pthread_mutex_unlock(&c->lock);
  if (atomic_load(&c->waiting)) {
    atomic_fetch_add(&c->kick, 1);
    syscall(SYS_futex, &c->kick, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
  }
  return likely;
}

static int finished(const struct entry *e) {
  struct gate *p = e->gate->page;
  return READ(p->response_seq) == e->gate->seq || READ(p->progress_state) == PROGRESS_LOST;
}

/* Runs on a thread of the pool until at least one entry is finished, or it is time to look at the peers. */
int64_t nsgx_collector_wait(struct collector *c) {
  struct waiter waiters[MAX_WAITERS];
  for (;;) {
    memset(waiters, 0, sizeof waiters);
    atomic_exchange(&c->waiting, 1);
    waiters[0] = (struct waiter){ atomic_load(&c->kick), (u64)&c->kick, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 };
    u32 count = 1;
    int ready = 0;
    pthread_mutex_lock(&c->lock);
    int crowded = c->count >= MAX_WAITERS;
    for (u32 i = 0; i < c->count && !ready; i++) {
      struct host_gate *g = c->entries[i].gate;
      /* From here on the runner wakes; an answer that came before is seen below. */
      if (!READ(g->page->host_asleep)) atomic_exchange((_Atomic u32 *)&g->page->host_asleep, 1);
      u32 seen = READ(g->page->response_seq);
      if (finished(&c->entries[i])) ready = 1;
      else if (count < MAX_WAITERS)
        waiters[count++] = (struct waiter){ seen, (u64)&g->page->response_seq, FUTEX_32, 0 };
    }
    pthread_mutex_unlock(&c->lock);
    if (ready) break;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += crowded ? CROWDED_NS : HOST_WAIT_NS;
    if (end.tv_nsec >= 1000000000L) {
      end.tv_nsec -= 1000000000L;
      end.tv_sec++;
    }
    long result = syscall(SYS_futex_waitv, waiters, count, 0, &end, CLOCK_MONOTONIC);
    if (result < 0 && errno == ENOSYS) usleep(200);
    if (result < 0 && (errno == ETIMEDOUT || errno == ENOSYS)) {
      c->look_at_peers = 1;
      break;
    }
  }
  atomic_store(&c->waiting, 0);
  return 0;
}

/* Takes finished entries: pairs of token and EXIT_KIND; with `yield`, lets other threads of this CPU run first. */
u32 nsgx_collector_take(struct collector *c, u32 *out, u32 capacity, u32 yield) {
  u32 taken = 0;
  /* The latest entry may be over already: the wake-up may have given its thread the CPU at once. */
  for (u32 i = 0; i < yield && c->count && !finished(&c->entries[c->count - 1]); i++) sched_yield();
  pthread_mutex_lock(&c->lock);
  for (u32 i = 0; i < c->count && taken < capacity;) {
    struct host_gate *g = c->entries[i].gate;
    int answered = READ(g->page->response_seq) == g->seq;
    int lost = !answered && (READ(g->page->progress_state) == PROGRESS_LOST || (c->look_at_peers && peer_gone(g)));
    if (!answered && !lost) {
      i++;
      continue;
    }
    WRITE(g->page->host_asleep, 0);
    out[taken * 2] = c->entries[i].token;
    out[taken * 2 + 1] = lost ? EXIT_KIND_LOST : READ(g->page->response_kind);
    taken++;
    c->entries[i] = c->entries[--c->count];
  }
  c->look_at_peers = 0;
  pthread_mutex_unlock(&c->lock);
  return taken;
}
