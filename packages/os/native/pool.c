/*
 * Threads for calls that wait (asynchronous entries into enclaves). Jobs queue in a ring; results go to a ring
 * that the consumer reads without a call, announced through one eventfd: written once per batch, since a thread
 * only writes it when nothing is announced yet.
 */
#include "nsgx_os.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define CAPACITY 65536u /* calls queued or running or not yet collected; mirrored in src/call-pool.ts */
#define MAX_THREADS 256
#define STACK_BYTES 65536

struct job {
  uint64_t function, argument;
  uint32_t id, unused;
};

struct completion {
  double value;
  uint32_t id, unused;
};

/* Mirrored in src/call-pool.ts: head @0, announced @64, entries @128. */
struct completions {
  _Alignas(64) uint32_t head;
  _Alignas(64) uint32_t announced;
  _Alignas(64) struct completion entries[CAPACITY];
};

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t work;
  int event;
  uint32_t max_threads, threads, idle, running;
  uint32_t first, last; /* of jobs, free-running */
  int closing, follow;
  int32_t cpu; /* of the last submitter */
  struct completions *done;
  struct job *jobs;
};

static void announce(struct pool *p, uint32_t id, double value) { /* with the lock held */
  struct completion *c = &p->done->entries[p->done->head % CAPACITY];
  c->value = value;
  c->id = id;
  __atomic_store_n(&p->done->head, p->done->head + 1, __ATOMIC_SEQ_CST);
}

static void follow_caller(int32_t *mine, int32_t wanted) {
  if (wanted < 0 || *mine == wanted || wanted >= CPU_SETSIZE) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((unsigned)wanted, &set);
  if (sched_setaffinity(0, sizeof set, &set) == 0) *mine = wanted;
}

static void *run(void *argument) {
  struct pool *p = argument;
  int32_t cpu = -1;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    while (p->first == p->last && !p->closing) {
      p->idle++;
      pthread_cond_wait(&p->work, &p->lock);
      p->idle--;
    }
    if (p->first == p->last) break;
    struct job job = p->jobs[p->first++ % CAPACITY];
    int32_t wanted = p->follow ? p->cpu : -1;
    p->running++;
    pthread_mutex_unlock(&p->lock);
    follow_caller(&cpu, wanted);
    double value = (double)((int64_t(*)(uint64_t))job.function)(job.argument);
    pthread_mutex_lock(&p->lock);
    p->running--;
    announce(p, job.id, value);
    if (__atomic_exchange_n(&p->done->announced, 1, __ATOMIC_SEQ_CST) == 0) {
      uint64_t one = 1;
      int event = p->event;
      pthread_mutex_unlock(&p->lock);
      while (write(event, &one, sizeof one) < 0 && errno == EINTR) {
      }
      pthread_mutex_lock(&p->lock);
    }
  }
  p->threads--;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

EXPORT int64_t nsgx_pool_create(uint32_t max_threads, int32_t follow) {
  if (max_threads < 1 || max_threads > MAX_THREADS) return -EINVAL;
  struct pool *p = calloc(1, sizeof *p);
  if (!p) return -ENOMEM;
  const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void *done = mmap(NULL, sizeof *p->done, prot, flags, -1, 0);
  void *jobs = mmap(NULL, sizeof *p->jobs * CAPACITY, prot, flags, -1, 0);
  p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (done == MAP_FAILED || jobs == MAP_FAILED || p->event < 0) {
    int64_t error = -(int64_t)errno;
    if (done != MAP_FAILED) munmap(done, sizeof *p->done);
    if (jobs != MAP_FAILED) munmap(jobs, sizeof *p->jobs * CAPACITY);
    if (p->event >= 0) close(p->event);
    free(p);
    return error;
  }
  p->done = done;
  p->jobs = jobs;
  p->max_threads = max_threads;
  p->follow = follow;
  p->cpu = -1;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->work, NULL);
  return (int64_t)(uintptr_t)p;
}

EXPORT int64_t nsgx_pool_event(uint64_t pool) { return ((struct pool *)pool)->event; }

EXPORT int64_t nsgx_pool_completions(uint64_t pool) { return (int64_t)(uintptr_t)((struct pool *)pool)->done; }

/* The caller keeps at most CAPACITY calls outstanding. -EAGAIN: no thread could be started at all. */
EXPORT int64_t nsgx_pool_submit(uint64_t pool, uint64_t function, uint64_t argument, uint32_t id) {
  struct pool *p = (struct pool *)pool;
  int64_t answer = 0;
  pthread_mutex_lock(&p->lock);
  if (p->closing || p->last - p->first >= CAPACITY) {
    pthread_mutex_unlock(&p->lock);
    return -EBUSY;
  }
  p->cpu = p->follow ? sched_getcpu() : -1;
  p->jobs[p->last++ % CAPACITY] = (struct job){function, argument, id, 0};
  /* More jobs than sleepers: every sleeper was woken already. */
  if (p->last - p->first <= p->idle) {
    pthread_cond_signal(&p->work);
  } else if (p->threads < p->max_threads) {
    pthread_t thread;
    p->threads++;
    int error = start_thread(&thread, STACK_BYTES, run, p);
    if (error) {
      p->threads--;
      if (p->threads == 0) {
        p->last--;
        answer = -error;
      }
    } else {
      pthread_detach(thread);
    }
  }
  pthread_mutex_unlock(&p->lock);
  return answer;
}

/* Clears the eventfd; called by the consumer before it reads the ring. */
EXPORT int64_t nsgx_pool_collect(uint64_t pool) {
  struct pool *p = (struct pool *)pool;
  uint64_t count;
  int64_t r = RETRY(read(p->event, &count, sizeof count));
  __atomic_store_n(&p->done->announced, 0, __ATOMIC_SEQ_CST);
  return r < 0 && errno != EAGAIN ? -errno : 0;
}

/* Takes no more jobs and drops those not started; out receives their ids. Returns their number. */
EXPORT int64_t nsgx_pool_stop(uint64_t pool, uint32_t *out) {
  struct pool *p = (struct pool *)pool;
  int64_t dropped = 0;
  pthread_mutex_lock(&p->lock);
  p->closing = 1;
  while (p->first != p->last) out[dropped++] = p->jobs[p->first++ % CAPACITY].id;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  return dropped;
}

/* After every call has been collected: waits for the threads to leave, frees everything. */
EXPORT int64_t nsgx_pool_destroy(uint64_t pool) {
  struct pool *p = (struct pool *)pool;
  pthread_mutex_lock(&p->lock);
  while (p->threads > 0) pthread_cond_wait(&p->work, &p->lock);
  pthread_mutex_unlock(&p->lock);
  munmap(p->done, sizeof *p->done);
  munmap(p->jobs, sizeof *p->jobs * CAPACITY);
  close(p->event);
  pthread_cond_destroy(&p->work);
  pthread_mutex_destroy(&p->lock);
  free(p);
  return 0;
}

/* For measurements and tests: returns its argument; sleeps that many microseconds. */
EXPORT int64_t nsgx_identity(uint64_t argument) { return (int64_t)argument; }

EXPORT int64_t nsgx_sleep_us(uint64_t argument) {
  usleep((useconds_t)argument);
  return (int64_t)argument;
}
