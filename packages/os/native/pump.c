/*
 * The I/O thread: epoll over listening sockets, connections and pidfds. What happens becomes an event in private
 * memory and a ring of a doorbell; the main thread takes events when it likes. A source is armed for one event
 * at a time (EPOLLONESHOT) and only while its quota and the common quota have room, so peers cannot make memory
 * or work grow: they find their own socket buffers full. The thread never touches a removed source, because both
 * hold the lock.
 */
#include "nsgx_os.h"
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MAX_SOURCES 4096
#define SOURCE_EVENTS 8
#define SOURCE_BYTES (2 * MAX_MESSAGE_BYTES)
#define TOTAL_EVENTS 4096
#define TOTAL_BYTES (16u << 20)
#define TOTAL_FDS 512
#define CONTROL_SLOT 0xffffffffu
#define RETRY_MS 50

enum { KIND_LISTEN = 1, KIND_SEQPACKET = 2, KIND_PIDFD = 3, KIND_BYTES = 4 };
enum { EVENT_ACCEPTED = 1, EVENT_MESSAGE = 2, EVENT_EOF = 3, EVENT_EXITED = 4 };

struct source {
  int fd, kind, used, armed, dead, retry;
  uint32_t token, generation, queued, queued_bytes;
};

struct event {
  struct event *next;
  uint32_t slot, generation;
  /* As drained, mirrored in src/event-pump.ts: six words, descriptors, bytes padded to 4. */
  uint32_t token, type, length, fd_count;
  int32_t a, b; /* EOF: error number; EXITED: CLD_* code and status */
  int32_t fds[MAX_MESSAGE_FDS];
  uint8_t bytes[];
};

struct pump {
  pthread_mutex_t lock;
  pthread_t thread;
  int epoll, control, stopping;
  uint32_t *wake, *asleep;
  struct event *first, **last;
  uint32_t events, bytes, fds, retries, top; /* top: above every used slot */
  uint64_t retry_at;
  struct source sources[MAX_SOURCES];
  uint8_t buffer[MAX_MESSAGE_BYTES];
  _Alignas(64) uint32_t pending; /* number of queued events, read by the consumer without a call */
};

static int has_room(const struct pump *p, const struct source *s) {
  return s->queued < SOURCE_EVENTS && s->queued_bytes + MAX_MESSAGE_BYTES <= SOURCE_BYTES && p->events < TOTAL_EVENTS &&
         p->bytes + MAX_MESSAGE_BYTES <= TOTAL_BYTES && p->fds + MAX_MESSAGE_FDS <= TOTAL_FDS;
}

static int arm(struct pump *p, uint32_t slot, int operation) {
  struct source *s = &p->sources[slot];
  struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = (uint64_t)s->generation << 32 | slot};
  int r = epoll_ctl(p->epoll, operation, s->fd, &e);
  s->armed = r == 0;
  return r;
}

static int queue(struct pump *p, uint32_t slot, uint32_t type, int32_t a, int32_t b, const struct received *r) {
  struct source *s = &p->sources[slot];
  uint32_t length = r && r->bytes > 0 ? (uint32_t)r->bytes : 0;
  struct event *e = calloc(1, sizeof *e + length);
  if (!e) return -1;
  e->slot = slot;
  e->generation = s->generation;
  e->token = s->token;
  e->type = type;
  e->a = a;
  e->b = b;
  e->length = length;
  if (r) {
    e->fd_count = r->fd_count;
    memcpy(e->fds, r->fds, sizeof e->fds[0] * r->fd_count);
    memcpy(e->bytes, p->buffer, length);
  }
  s->queued++;
  s->queued_bytes += length;
  p->events++;
  p->bytes += length;
  p->fds += e->fd_count;
  *p->last = e;
  p->last = &e->next;
  __atomic_store_n(&p->pending, p->events, __ATOMIC_SEQ_CST);
  return 0;
}

static void try_later(struct pump *p, struct source *s) {
  if (!s->retry && p->retries++ == 0) p->retry_at = monotonic_ns() + RETRY_MS * 1000000ull;
  s->retry = 1;
}

static void close_all(const int32_t *fds, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) close(fds[i]);
}

static void on_listen(struct pump *p, uint32_t slot) {
  struct source *s = &p->sources[slot];
  struct received r = {.bytes = 0, .fd_count = 1};
  r.fds[0] = (int32_t)RETRY(accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (r.fds[0] >= 0) {
    if (queue(p, slot, EVENT_ACCEPTED, 0, 0, &r) < 0) close(r.fds[0]);
  } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
    try_later(p, s);
  } else if (errno != EAGAIN && errno != ECONNABORTED) {
    s->dead = queue(p, slot, EVENT_EOF, errno, 0, NULL) == 0;
  }
}

static void on_message(struct pump *p, uint32_t slot) {
  struct source *s = &p->sources[slot];
  struct received r;
  if (s->kind == KIND_BYTES)
    receive_bytes(s->fd, p->buffer, sizeof p->buffer, &r);
  else
    receive_message(s->fd, p->buffer, sizeof p->buffer, MAX_MESSAGE_FDS, &r);
  if (r.bytes == -EAGAIN) return;
  if (r.bytes > 0) {
    if (queue(p, slot, EVENT_MESSAGE, 0, 0, &r) < 0) { /* out of memory: the message is lost, so is the peer */
      close_all(r.fds, r.fd_count);
      shutdown(s->fd, SHUT_RDWR);
      try_later(p, s);
    }
    return;
  }
  if (r.bytes == 0) close_all(r.fds, r.fd_count); /* an empty message counts as the end */
  if (queue(p, slot, EVENT_EOF, (int32_t)-r.bytes, 0, NULL) < 0)
    try_later(p, s);
  else
    s->dead = 1;
}

static void on_exit_of(struct pump *p, uint32_t slot) {
  struct source *s = &p->sources[slot];
  siginfo_t info;
  memset(&info, 0, sizeof info);
  /* WNOWAIT first: the status must not be lost if there is no memory for the event. */
  int child = RETRY(waitid(P_PIDFD, (id_t)s->fd, &info, WEXITED | WNOHANG | WNOWAIT)) == 0;
  if (child && info.si_pid == 0) return; /* spurious */
  if (queue(p, slot, EVENT_EXITED, child ? info.si_code : 0, child ? info.si_status : 0, NULL) < 0) {
    try_later(p, s);
    return;
  }
  s->dead = 1;
  if (child) RETRY(waitid(P_PIDFD, (id_t)s->fd, &info, WEXITED | WNOHANG));
}

static void rearm_all(struct pump *p) {
  for (uint32_t i = 0; i < p->top; i++) {
    struct source *s = &p->sources[i];
    if (s->used && !s->armed && !s->dead && !s->retry && has_room(p, s)) arm(p, i, EPOLL_CTL_MOD);
  }
}

static void serve(struct pump *p, uint64_t data) {
  uint32_t slot = (uint32_t)data;
  if (slot >= MAX_SOURCES) return;
  struct source *s = &p->sources[slot];
  if (!s->used || s->dead || s->generation != (uint32_t)(data >> 32)) return;
  s->armed = 0;
  if (s->kind == KIND_LISTEN)
    on_listen(p, slot);
  else if (s->kind == KIND_PIDFD)
    on_exit_of(p, slot);
  else
    on_message(p, slot);
  if (!s->dead && !s->retry && has_room(p, s)) arm(p, slot, EPOLL_CTL_MOD);
}

static void *run(void *argument) {
  struct pump *p = argument;
  struct epoll_event ready[32];
  for (;;) {
    int n = epoll_wait(p->epoll, ready, 32, __atomic_load_n(&p->retries, __ATOMIC_RELAXED) ? RETRY_MS : -1);
    if (n < 0 && errno != EINTR) return NULL;
    pthread_mutex_lock(&p->lock);
    if (p->stopping) {
      pthread_mutex_unlock(&p->lock);
      return NULL;
    }
    uint32_t before = p->events;
    if (p->retries && monotonic_ns() >= p->retry_at) {
      for (uint32_t i = 0; i < p->top; i++) p->sources[i].retry = 0;
      p->retries = 0;
      rearm_all(p);
    }
    for (int i = 0; i < n; i++) serve(p, ready[i].data.u64);
    int ring = p->events != before;
    pthread_mutex_unlock(&p->lock);
    if (ring && p->wake) ring_doorbell(p->wake, p->asleep);
  }
}

EXPORT int64_t nsgx_pump_create(uint64_t wake, uint64_t asleep) {
  struct pump *p = aligned_alloc(64, (sizeof *p + 63) & ~(size_t)63);
  if (!p) return -ENOMEM;
  memset(p, 0, sizeof *p);
  p->last = &p->first;
  p->wake = (uint32_t *)wake;
  p->asleep = (uint32_t *)asleep;
  pthread_mutex_init(&p->lock, NULL);
  p->epoll = epoll_create1(EPOLL_CLOEXEC);
  p->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN, .data.u64 = CONTROL_SLOT};
  int error = p->epoll < 0 || p->control < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->control, &e) < 0 ? errno : 0;
  if (!error) error = start_thread(&p->thread, 65536, run, p);
  if (!error) return (int64_t)(uintptr_t)p;
  if (p->epoll >= 0) close(p->epoll);
  if (p->control >= 0) close(p->control);
  free(p);
  return -error;
}

EXPORT int64_t nsgx_pump_pending_address(uint64_t pump) { return (int64_t)(uintptr_t)&((struct pump *)pump)->pending; }

EXPORT int64_t nsgx_pump_add(uint64_t pump, int32_t fd, uint32_t token, int32_t kind) {
  struct pump *p = (struct pump *)pump;
  int64_t answer = -ENOSPC;
  uint32_t slot = MAX_SOURCES;
  if (kind < KIND_LISTEN || kind > KIND_BYTES) return -EINVAL;
  pthread_mutex_lock(&p->lock);
  for (uint32_t i = MAX_SOURCES; i-- > 0;) {
    if (!p->sources[i].used)
      slot = i;
    else if (p->sources[i].token == token) {
      slot = MAX_SOURCES;
      answer = -EEXIST;
      break;
    }
  }
  if (slot < MAX_SOURCES) {
    struct source *s = &p->sources[slot];
    uint32_t generation = s->generation + 1;
    memset(s, 0, sizeof *s);
    s->fd = fd;
    s->kind = kind;
    s->token = token;
    s->generation = generation;
    s->used = 1;
    if (slot >= p->top) p->top = slot + 1;
    answer = 0;
    if (arm(p, slot, EPOLL_CTL_ADD) < 0) {
      answer = -(int64_t)errno;
      s->used = 0;
    }
  }
  pthread_mutex_unlock(&p->lock);
  return answer;
}

static void forget(struct pump *p, struct event *e) {
  p->events--;
  p->bytes -= e->length;
  p->fds -= e->fd_count;
  struct source *s = &p->sources[e->slot];
  if (s->used && s->generation == e->generation) {
    s->queued--;
    s->queued_bytes -= e->length;
  }
  free(e);
}

/* Afterwards the thread does not touch the descriptor any more; its queued events are dropped. */
EXPORT int64_t nsgx_pump_remove(uint64_t pump, uint32_t token) {
  struct pump *p = (struct pump *)pump;
  int64_t answer = -ENOENT;
  pthread_mutex_lock(&p->lock);
  for (uint32_t i = 0; i < MAX_SOURCES; i++) {
    struct source *s = &p->sources[i];
    if (!s->used || s->token != token) continue;
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    for (struct event **at = &p->first; *at;) {
      struct event *e = *at;
      if (e->slot == i && e->generation == s->generation) {
        *at = e->next;
        close_all(e->fds, e->fd_count);
        forget(p, e);
      } else {
        at = &e->next;
      }
    }
    p->last = &p->first;
    while (*p->last) p->last = &(*p->last)->next;
    s->used = 0;
    while (p->top > 0 && !p->sources[p->top - 1].used) p->top--;
    __atomic_store_n(&p->pending, p->events, __ATOMIC_SEQ_CST);
    rearm_all(p);
    answer = 0;
    break;
  }
  pthread_mutex_unlock(&p->lock);
  return answer;
}

/* Moves whole events into the buffer; returns the bytes used. */
EXPORT int64_t nsgx_pump_drain(uint64_t pump, void *into, uint64_t capacity) {
  struct pump *p = (struct pump *)pump;
  uint8_t *at = into;
  uint64_t used = 0;
  pthread_mutex_lock(&p->lock);
  while (p->first) {
    struct event *e = p->first;
    uint64_t size = 24 + 4ull * e->fd_count + ((e->length + 3ull) & ~3ull);
    if (used + size > capacity) break;
    uint32_t head[6] = {e->token, e->type, e->length, e->fd_count, (uint32_t)e->a, (uint32_t)e->b};
    memcpy(at + used, head, 24);
    memcpy(at + used + 24, e->fds, 4ull * e->fd_count);
    memcpy(at + used + 24 + 4ull * e->fd_count, e->bytes, e->length);
    used += size;
    p->first = e->next;
    if (!p->first) p->last = &p->first;
    forget(p, e);
  }
  __atomic_store_n(&p->pending, p->events, __ATOMIC_SEQ_CST);
  if (used) rearm_all(p);
  pthread_mutex_unlock(&p->lock);
  return (int64_t)used;
}

EXPORT int64_t nsgx_pump_close(uint64_t pump) {
  struct pump *p = (struct pump *)pump;
  uint64_t one = 1;
  pthread_mutex_lock(&p->lock);
  p->stopping = 1;
  pthread_mutex_unlock(&p->lock);
  if (write(p->control, &one, sizeof one) < 0 && errno != EAGAIN) return -errno;
  pthread_join(p->thread, NULL);
  while (p->first) {
    struct event *e = p->first;
    p->first = e->next;
    close_all(e->fds, e->fd_count);
    forget(p, e);
  }
  close(p->epoll);
  close(p->control);
  pthread_mutex_destroy(&p->lock);
  free(p);
  return 0;
}
