/* The host's half of switchless calls: OCALLs are taken while waiting for something else, ECALLs are put and waited for. */
#include "switchless.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define NAP_FIRST_NS 50000L
#define NAP_MOST_NS 200000L
/* Giving the CPU up takes as long as this many pauses. */
#define YIELD_TRIES 16u
/* Entries that keep their thread off the host's CPU after one that made switchless OCALLs. */
#define APART_ENTRIES 64u
/* Longest without looking whether the machine still lives. */
#define TRIES_MOST (1u << 20)
#define NO_LINE 0xffffffffu

struct switchless *nsgx_switchless_open(const struct switchless_setup *setup) {
  if (setup->words < 1 || setup->words > MAX_WORDS) return NULL;
  struct switchless *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->at = *setup;
  for (u32 i = 0; i < s->at.words; i++) s->free_lines[i] = ~0ull;
  return s;
}

void nsgx_switchless_close(struct switchless *s) { free(s); }

/* Adds the gate of a trusted worker; 0 when there are too many. */
int nsgx_switchless_worker(struct switchless *s, struct host_gate *g) {
  if (s->worker_count >= MAX_TRUSTED_WORKERS) return 0;
  s->workers[s->worker_count++] = g;
  return 1;
}

/* Publishes an entry without waiting; its thread may run on any CPU. */
void nsgx_gate_post(struct host_gate *g, u32 function, u64 rdi, u64 rsi) {
  struct gate *p = g->page;
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, rdi);
  WRITE(p->request_rsi, rsi);
  publish_request(g, NO_CPU, 0);
}

static int left(const struct host_gate *g) {
  return READ(g->page->response_seq) == g->seq || READ(g->page->progress_state) == PROGRESS_LOST;
}

/* How an entry that was posted ended, or EXIT_KIND_NONE. */
u32 nsgx_gate_poll(struct host_gate *g, u32 thoroughly) {
  if (READ(g->page->response_seq) == g->seq) {
    u32 kind = READ(g->page->response_kind);
    return kind == EXIT_KIND_NONE ? EXIT_KIND_LOST : kind;
  }
  if (READ(g->page->progress_state) == PROGRESS_LOST || (thoroughly && peer_gone(g))) return EXIT_KIND_LOST;
  return EXIT_KIND_NONE;
}

static volatile struct task *task_at(u64 tasks, u32 line) { return (volatile struct task *)tasks + line; }

static _Atomic u64 *word_of(u64 events, u32 line) { return (_Atomic u64 *)events + line / LINES_PER_WORD; }

/* 1 when the line was set: whoever clears it has the task. */
static int take_line(u64 events, u32 line) {
  u64 bit = 1ull << line % LINES_PER_WORD;
  return (atomic_fetch_and(word_of(events, line), ~bit) & bit) != 0;
}

static int any_ocall(const struct switchless *s) {
  const volatile u64 *events = (const volatile u64 *)s->at.ocall_events;
  for (u32 i = 0; i < s->at.words; i++)
    if (events[i]) return 1;
  return 0;
}

/* Accepts an OCALL; NO_LINE when there is none. A line without a submitted task is forgotten. */
static u32 take_ocall(struct switchless *s) {
  const volatile u64 *events = (const volatile u64 *)s->at.ocall_events;
  for (u32 i = 0; i < s->at.words; i++) {
    u64 set = events[i];
    if (!set) continue;
    u32 line = i * LINES_PER_WORD + (u32)__builtin_ctzll(set);
    if (!take_line(s->at.ocall_events, line)) continue;
    volatile struct task *t = task_at(s->at.ocall_tasks, line);
    if (t->status != TASK_SUBMITTED) continue;
    t->status = TASK_ACCEPTED;
    s->ocalls++;
    return line;
  }
  return NO_LINE;
}

/* Answers an accepted OCALL. */
void nsgx_switchless_finish(struct switchless *s, u32 line, u32 result) {
  volatile struct task *t = task_at(s->at.ocall_tasks, line % (s->at.words * LINES_PER_WORD));
  t->result = result;
  atomic_thread_fence(memory_order_release);
  t->status = TASK_DONE;
}

/* An OCALL that arrives within `tries`, or EXIT_KIND_NONE. */
u32 nsgx_switchless_next(struct switchless *s, u32 tries) {
  for (u32 i = 0;; i++) {
    u32 line = any_ocall(s) ? take_ocall(s) : NO_LINE;
    if (line != NO_LINE) return WAIT_OCALL | line << 8;
    if (i >= tries) return EXIT_KIND_NONE;
    _mm_pause();
  }
}

static u32 exit_of(const struct switchless *s, struct host_gate *g) {
  if (READ(*(u64 *)s->at.missed_ocalls)) g->apart = APART_ENTRIES;
  return READ(g->page->response_kind);
}

/* The exit, an OCALL, or EXIT_KIND_NONE when it is time to nap. */
static u32 wait_awake_for(struct switchless *s, struct host_gate *g, u32 cpu) {
  struct gate *p = g->page;
  for (u32 i = 0; i < s->at.sleep_tries && i < TRIES_MOST; i++) {
    if (READ(p->response_seq) == g->seq) return exit_of(s, g);
    if (any_ocall(s)) {
      u32 line = take_ocall(s);
      if (line != NO_LINE) {
        g->apart = APART_ENTRIES;
        return WAIT_OCALL | line << 8;
      }
    }
    if (g->usable_cpus == 1 || READ(p->runner_cpu) == cpu) {
      sched_yield();
      i += YIELD_TRIES;
    } else {
      _mm_pause();
    }
  }
  return EXIT_KIND_NONE;
}

/*
 * Waits in naps: the enclave cannot wake anybody for a switchless OCALL. Returns EXIT_KIND_NONE after `limit_us`.
 */
u32 nsgx_switchless_wait(struct switchless *s, struct host_gate *g, u32 limit_us) {
  struct gate *p = g->page;
  long nap = NAP_FIRST_NS, slept = 0;
  u32 result = EXIT_KIND_NONE;
  if (!left(g) && !any_ocall(s)) g->sleeps++;
  atomic_exchange((_Atomic u32 *)&p->host_asleep, 1);
  for (;;) {
    u32 seen = READ(p->response_seq);
    u32 line = any_ocall(s) ? take_ocall(s) : NO_LINE;
    if (line != NO_LINE) result = WAIT_OCALL | line << 8;
    else if (seen == g->seq) result = exit_of(s, g) == EXIT_KIND_NONE ? EXIT_KIND_LOST : READ(p->response_kind);
    else if (READ(p->progress_state) == PROGRESS_LOST) result = EXIT_KIND_LOST;
    if (result != EXIT_KIND_NONE) break;
    if (slept >= limit_us * 1000L) {
      if (peer_gone(g)) result = EXIT_KIND_LOST;
      break;
    }
    const struct timespec timeout = { 0, nap };
    futex(&p->response_seq, FUTEX_WAIT, seen, &timeout);
    slept += nap;
    if (nap < NAP_MOST_NS) nap *= 2;
  }
  WRITE(p->host_asleep, 0);
  return result;
}

static u32 wait_for_exit(struct switchless *s, struct host_gate *g, u32 cpu, u32 limit_us) {
  u32 kind = wait_awake_for(s, g, cpu);
  return kind != EXIT_KIND_NONE ? kind : nsgx_switchless_wait(s, g, limit_us);
}

/* As nsgx_gate_enter_for, and returns for switchless OCALLs of any thread, which it has accepted. */
u32 nsgx_switchless_enter(struct switchless *s, struct host_gate *g, u32 function, u64 rdi, u64 rsi, u32 limit_us) {
  struct gate *p = g->page;
  u32 cpu;
  if (READ(p->progress_state) == PROGRESS_LOST) return EXIT_KIND_LOST;
  WRITE(p->request_function, function);
  WRITE(p->request_rdi, rdi);
  WRITE(p->request_rsi, rsi);
  now(&cpu);
  /* A thread on the host's CPU could not wait for an OCALL while the host answers it. */
  if (g->apart) g->apart--;
  publish_request(g, g->apart ? NO_CPU : cpu, g->spin_max);
  return wait_for_exit(s, g, cpu, limit_us);
}

/* Answers an OCALL and goes on waiting. */
u32 nsgx_switchless_answer(struct switchless *s, struct host_gate *g, u32 line, u32 result, u32 limit_us) {
  u32 cpu;
  nsgx_switchless_finish(s, line, result);
  now(&cpu);
  return wait_for_exit(s, g, cpu, limit_us);
}

static u32 free_line(struct switchless *s) {
  for (u32 i = 0; i < s->at.words; i++) {
    if (!s->free_lines[i]) continue;
    u32 bit = (u32)__builtin_ctzll(s->free_lines[i]);
    s->free_lines[i] &= ~(1ull << bit);
    return i * LINES_PER_WORD + bit;
  }
  return NO_LINE;
}

static u32 leave_line(struct switchless *s, u32 line, u32 outcome) {
  volatile struct task *t = task_at(s->at.ecall_tasks, line);
  if (outcome == WAIT_DONE) {
    s->result = t->result;
    s->ecalls++;
  } else {
    s->ecalls_missed++;
  }
  t->function = ~0ull;
  s->free_lines[line / LINES_PER_WORD] |= 1ull << line % LINES_PER_WORD;
  return outcome | line << 8;
}

/*
 * Waits for an ECALL: done, taken back, an OCALL, a worker that has left the enclave (its number above the lowest byte),
 * or EXIT_KIND_NONE after `limit_us`.
 */
u32 nsgx_switchless_await(struct switchless *s, u32 line, u32 limit_us) {
  if (line >= s->at.words * LINES_PER_WORD) return EXIT_KIND_LOST;
  volatile struct task *t = task_at(s->at.ecall_tasks, line);
  long nap = NAP_FIRST_NS, slept = 0;
  for (u32 i = 0;; i++) {
    u64 status = t->status;
    if (status == TASK_DONE) return leave_line(s, line, WAIT_DONE);
    if (status == TASK_SUBMITTED && s->tries[line] && --s->tries[line] == 0 && take_line(s->at.ecall_events, line))
      return leave_line(s, line, WAIT_FALLBACK);
    if (any_ocall(s)) {
      u32 ocall = take_ocall(s);
      if (ocall != NO_LINE) return WAIT_OCALL | ocall << 8;
    }
    for (u32 w = 0; w < s->worker_count; w++)
      if (left(s->workers[w])) return WAIT_WORKER | w << 8;
    if ((status == TASK_SUBMITTED && s->tries[line]) || i < s->at.sleep_tries) {
      if (i >= TRIES_MOST) return EXIT_KIND_NONE;
      _mm_pause();
      continue;
    }
    if (slept >= limit_us * 1000L) return EXIT_KIND_NONE;
    const struct timespec pause = { 0, nap };
    nanosleep(&pause, NULL);
    slept += nap;
    if (nap < NAP_MOST_NS) nap *= 2;
  }
}

/* Puts an ECALL; WAIT_FALLBACK at once when there is no line for it, otherwise as nsgx_switchless_await. */
u32 nsgx_switchless_call(struct switchless *s, u64 function, u64 data, u32 limit_us) {
  u32 line = free_line(s);
  if (line == NO_LINE) {
    s->ecalls_missed++;
    return WAIT_FALLBACK;
  }
  volatile struct task *t = task_at(s->at.ecall_tasks, line);
  t->function = function;
  t->data = data;
  t->result = 1;
  t->status = TASK_SUBMITTED;
  s->tries[line] = (u32)s->at.fallback_tries;
  s->line = line;
  atomic_fetch_or(word_of(s->at.ecall_events, line), 1ull << line % LINES_PER_WORD);
  return nsgx_switchless_await(s, line, limit_us);
}

/* Runs on a thread of a pool: returns 1 when there is an OCALL to take, 0 when it was stopped. */
int64_t nsgx_switchless_watch(struct switchless *s) {
  int64_t found = 0;
  long nap = NAP_FIRST_NS;
  atomic_store(&s->watching, 1);
  for (u32 i = 0; !atomic_load(&s->stop) && !found; i++) {
    if (any_ocall(s)) found = 1;
    else if (i < s->at.sleep_tries) _mm_pause();
    else {
      const struct timespec pause = { 0, nap };
      nanosleep(&pause, NULL);
      if (nap < NAP_MOST_NS) nap *= 2;
    }
  }
  atomic_store(&s->watching, 0);
  return found;
}

/* Before a watch that follows a stop. */
void nsgx_switchless_watch_again(struct switchless *s) { atomic_store(&s->stop, 0); }

/* Ends a watch; with `wait`, it does not look at the lines any more when this returns. */
void nsgx_switchless_stop(struct switchless *s, u32 wait) {
  const struct timespec pause = { 0, 20000 };
  atomic_store(&s->stop, 1);
  while (wait && atomic_load(&s->watching)) nanosleep(&pause, NULL);
}
