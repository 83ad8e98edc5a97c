/* Shared by the files of libnsgx-os. Every exported function returns a value >= 0, or -errno. */
#ifndef NSGX_OS_H
#define NSGX_OS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Turns libc's -1/errno into -errno. */
static inline int64_t result(int64_t value) { return value == -1 ? -(int64_t)errno : value; }

/* Repeats a system call that a signal interrupted. */
#define RETRY(expression)                                                                                    \
  ({                                                                                                         \
    int64_t retry_value;                                                                                     \
    do                                                                                                       \
      retry_value = (int64_t)(expression);                                                                   \
    while (retry_value == -1 && errno == EINTR);                                                             \
    retry_value;                                                                                             \
  })

/* clock.c: monotonic nanoseconds; how much of a poll() timeout is left (never negative). */
uint64_t monotonic_ns(void);
int poll_remaining_ms(uint64_t deadline_ns);

/* futex.c */
long futex_wake_word(uint32_t *word, int count);
void ring_doorbell(uint32_t *word, uint32_t *asleep);
/* Sleeps until *word differs from expected or the deadline passes; never longer. */
int futex_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns);

/* thread.c: returns an error number or 0. */
int start_thread(pthread_t *thread, size_t stack_bytes, void *(*run)(void *), void *argument);

/* socket.c: one message with descriptors. Received descriptors are close-on-exec. */
#define MAX_MESSAGE_BYTES 65536
#define MAX_MESSAGE_FDS 8
struct received {
  int64_t bytes; /* >= 0, or -errno; -EMSGSIZE when the message or its descriptors were truncated */
  uint32_t fd_count;
  int32_t fds[MAX_MESSAGE_FDS];
};
void receive_message(int fd, void *buffer, size_t capacity, uint32_t max_fds, struct received *out);
void receive_bytes(int fd, void *buffer, size_t capacity, struct received *out);

#endif
