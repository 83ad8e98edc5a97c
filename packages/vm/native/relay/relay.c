/*
 * Two threads between a guest and the processes that serve it.
 *
 * Kick: the guest marks pages of its window whose first word it has changed and, when the relay sleeps, writes a byte
 * to a port that QEMU turns into a byte of a socket; the thread wakes whoever sleeps on these words. Interrupt: whoever
 * answers a sleeping guest increments a word; the thread turns that into a byte for the guest's serial port, whose
 * interrupt is the guest's own signal to look. Both words and marks are the guest's to write: the worst it can cause is
 * wake-ups of those who serve it, which they get from it anyway.
 */
#define _GNU_SOURCE
#include "layout.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BITMAP_WORDS 256u
#define MARKS_PER_WORD 64u
#define PAGE_SIZE_BYTES 4096ull
#define EXPORT __attribute__((visibility("default")))
#define STACK_BYTES 65536
/* A process that shares the memory can move a sleeper to another word (FUTEX_CMP_REQUEUE); only time ends that. */
#define LONGEST_SLEEP_S 1

struct relay_threads {
  uint8_t *window, *page;
  uint64_t window_pages;
  int kick, irq;
  uint32_t irq_seen; /* when the relay was started: increments from then on count */
  int stopping;
  pthread_t kick_thread, irq_thread;
  uint64_t kicks, wakes, interrupts; /* for whoever wants to know */
};

static uint64_t *words_at(struct relay_threads *r, unsigned offset) { return (uint64_t *)(r->page + offset); }
static uint32_t *word_at(struct relay_threads *r, unsigned offset) { return (uint32_t *)(r->page + offset); }

static void wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static void wake_word(struct relay_threads *r, unsigned index) {
  uint64_t marks = __atomic_exchange_n(words_at(r, RELAY_BITMAP) + index, 0, __ATOMIC_SEQ_CST);
  while (marks) {
    uint64_t page = index * (uint64_t)MARKS_PER_WORD + (unsigned)__builtin_ctzll(marks);
    marks &= marks - 1;
    if (page >= r->window_pages) continue;
    __atomic_add_fetch(&r->wakes, 1, __ATOMIC_RELAXED);
    wake((uint32_t *)(r->window + page * PAGE_SIZE_BYTES));
  }
}

static int take_marks(struct relay_threads *r) {
  int any = 0;
  for (unsigned group = 0; group < BITMAP_WORDS / MARKS_PER_WORD; group++) {
    uint64_t *at = words_at(r, RELAY_SUMMARY) + group;
    if (__atomic_load_n(at, __ATOMIC_SEQ_CST) == 0) continue;
    uint64_t summary = __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST);
    for (; summary; summary &= summary - 1) wake_word(r, group * MARKS_PER_WORD + (unsigned)__builtin_ctzll(summary));
    any = 1;
  }
  return any;
}

/* Bytes carry nothing; what counts is that they came. 0: QEMU has ended. */
static int await_kick(struct relay_threads *r) {
  char bytes[256];
  ssize_t n;
  do
    n = read(r->kick, bytes, sizeof bytes);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

static void *run_kick(void *argument) {
  struct relay_threads *r = argument;
  uint32_t *asleep = word_at(r, RELAY_RELAY_ASLEEP);
  while (!__atomic_load_n(&r->stopping, __ATOMIC_RELAXED)) {
    take_marks(r);
    __atomic_store_n(asleep, 1, __ATOMIC_SEQ_CST);
    /* A mark made before the flag could be seen has no byte coming. */
    if (take_marks(r)) {
      __atomic_store_n(asleep, 0, __ATOMIC_SEQ_CST);
      continue;
    }
    if (!await_kick(r)) return NULL;
    __atomic_add_fetch(&r->kicks, 1, __ATOMIC_RELAXED);
    __atomic_store_n(asleep, 0, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

static void *run_irq(void *argument) {
  struct relay_threads *r = argument;
  uint32_t *word = word_at(r, RELAY_IRQ_WORD);
  uint32_t seen = r->irq_seen;
  while (!__atomic_load_n(&r->stopping, __ATOMIC_SEQ_CST)) {
    uint32_t now = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    if (now == seen) {
      const struct timespec longest = {LONGEST_SLEEP_S, 0};
      syscall(SYS_futex, word, FUTEX_WAIT, seen, &longest, NULL, 0);
      continue;
    }
    seen = now;
    __atomic_add_fetch(&r->interrupts, 1, __ATOMIC_RELAXED);
    /* A full socket holds interrupts that the guest has yet to take: one more says nothing new. */
    if (send(r->irq, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != EINTR) return NULL;
  }
  return NULL;
}

static int start(pthread_t *thread, void *(*run)(void *), struct relay_threads *r) {
  pthread_attr_t attributes;
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread, &attributes, run, r);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error;
}

static void end_kick(struct relay_threads *r) {
  shutdown(r->kick, SHUT_RDWR);
  pthread_join(r->kick_thread, NULL);
}

/* Takes over both sockets. Returns a handle, or -errno. */
EXPORT int64_t nsgx_relay_start(uint64_t window, uint64_t window_bytes, uint64_t page, int32_t kick, int32_t irq) {
  struct relay_threads *r = calloc(1, sizeof *r);
  if (!r) return -ENOMEM;
  r->window = (uint8_t *)(uintptr_t)window;
  r->window_pages = window_bytes / PAGE_SIZE_BYTES;
  r->page = (uint8_t *)(uintptr_t)page;
  r->kick = kick;
  r->irq = irq;
  r->irq_seen = __atomic_load_n(word_at(r, RELAY_IRQ_WORD), __ATOMIC_SEQ_CST);
  int error = start(&r->kick_thread, run_kick, r);
  if (!error) {
    error = start(&r->irq_thread, run_irq, r);
    if (error) {
      __atomic_store_n(&r->stopping, 1, __ATOMIC_SEQ_CST);
      end_kick(r);
    }
  }
  if (!error) return (int64_t)(uintptr_t)r;
  free(r);
  return -error;
}

/* Kicks, wake-ups, interrupts so far. */
EXPORT int64_t nsgx_relay_counters(uint64_t relay, uint64_t *out) {
  struct relay_threads *r = (struct relay_threads *)(uintptr_t)relay;
  out[0] = __atomic_load_n(&r->kicks, __ATOMIC_RELAXED);
  out[1] = __atomic_load_n(&r->wakes, __ATOMIC_RELAXED);
  out[2] = __atomic_load_n(&r->interrupts, __ATOMIC_RELAXED);
  return 0;
}

/* Ends both threads and closes the sockets; the memory may be unmapped afterwards. */
EXPORT int64_t nsgx_relay_stop(uint64_t relay) {
  struct relay_threads *r = (struct relay_threads *)(uintptr_t)relay;
  __atomic_store_n(&r->stopping, 1, __ATOMIC_SEQ_CST);
  end_kick(r);
  shutdown(r->irq, SHUT_RDWR);
  __atomic_add_fetch(word_at(r, RELAY_IRQ_WORD), 1, __ATOMIC_SEQ_CST);
  wake(word_at(r, RELAY_IRQ_WORD));
  pthread_join(r->irq_thread, NULL);
  close(r->kick);
  close(r->irq);
  free(r);
  return 0;
}

/* Two connected stream sockets, close-on-exec. */
EXPORT int64_t nsgx_vm_socketpair(int32_t *out) {
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) < 0 ? -(int64_t)errno : 0;
}
