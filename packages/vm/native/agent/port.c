#include "agent.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* A virtio port gives EOF, or EAGAIN, while nobody listens at the other end. */
static int wait_for(int port, short events) {
  struct pollfd entry = {port, events, 0};
  while (poll(&entry, 1, -1) < 0)
    if (errno != EINTR) return 0;
  return (entry.revents & events) != 0;
}

static int write_all(int port, const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  while (length > 0) {
    ssize_t n = write(port, at, length);
    if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for(port, POLLOUT)))) continue;
    if (n <= 0) return 0;
    at += n;
    length -= (size_t)n;
  }
  return 1;
}

static int read_all(int port, void *bytes, size_t length) {
  uint8_t *at = bytes;
  while (length > 0) {
    ssize_t n = read(port, at, length);
    if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for(port, POLLIN)))) continue;
    if (n <= 0) return 0;
    at += n;
    length -= (size_t)n;
  }
  return 1;
}

void send_frame(int port, uint32_t kind, uint32_t command, const void *bytes, uint32_t length) {
  /* One write for head and payload: each costs a round trip to the host. */
  static uint8_t whole[sizeof(struct frame) + MAX_FRAME];
  struct frame frame = {length, kind, command};
  memcpy(whole, &frame, sizeof frame);
  if (length > 0) memcpy(whole + sizeof frame, bytes, length);
  write_all(port, whole, sizeof frame + length);
}

int receive_frame(int port, struct frame *frame, uint8_t *bytes) {
  return read_all(port, frame, sizeof *frame) && frame->length <= MAX_FRAME && read_all(port, bytes, frame->length);
}
