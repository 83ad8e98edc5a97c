/*
 * Host descriptors: the runner's descriptors of an enclave whose host may grant it some. Every number below the range is
 * taken (by the agent's socket once more), and the limit of open files ends the range, so whoever receives on the grant
 * socket, the kernel can put what it receives nowhere else.
 */
#include "runner.h"

#define RLIMIT_NOFILE 7
#define SIGPIPE 13
#define SIGXFSZ 25

u32 descriptors_first;

/* A power of two, for the filter's mask. */
static s64 choose_range(void) {
  u64 limit[2] = { 0, 0 };
  s64 error = start_call(302 /* prlimit64 */, 0, RLIMIT_NOFILE, 0, (u64)limit, 0, 0);
  if (error < 0) return error;
  u64 first = DESCRIPTORS;
  while (2 * first > limit[1]) first /= 2;
  if (first < DESCRIPTORS_MIN) return -24;
  limit[0] = limit[1] = 2 * first;
  descriptors_first = (u32)first;
  return start_call(302, 0, RLIMIT_NOFILE, (u64)limit, 0, 0, 0);
}

/*
 * Before there are threads: chooses the range, and lets the kernel make its table that large. With threads it would wait for
 * all processors whenever it makes a larger one, some 65 ms in all. Returns 0 or a negative errno.
 */
s64 descriptors_prepare(void) {
  s64 error = choose_range();
  if (error >= 0) error = start_call(33 /* dup2 */, SOCKET, 2 * descriptors_first - 1, 0, 0, 0, 0);
  if (error >= 0) error = start_call(3 /* close */, (u64)error, 0, 0, 0, 0, 0);
  return error;
}

/* Writing to a pipe or socket that nobody reads, or beyond a limit, is an error of the call and not the runner's end. */
static s64 ignore(s32 signal) {
  struct { u64 handler, flags, restorer, mask; } action = { 1 /* SIG_IGN */, 0, 0, 0 };
  return start_call(13 /* rt_sigaction */, (u64)signal, (u64)&action, 0, 8, 0, 0);
}

/* Leaves the socket, the grant socket and fillers open, and nothing else. Returns 0 or a negative errno. */
s64 descriptors_setup(s32 grants) {
  s64 error = 0;
  if (grants != GRANT_SOCKET) error = start_call(33 /* dup2 */, (u64)grants, GRANT_SOCKET, 0, 0, 0, 0);
  if (error >= 0) error = start_call(436 /* close_range */, GRANT_SOCKET + 1, 0xffffffff, 0, 0, 0, 0);
  for (u32 n = 0; n < descriptors_first && error >= 0; n++)
    if (n != SOCKET && n != GRANT_SOCKET) error = start_call(33, SOCKET, n, 0, 0, 0, 0);
  if (error >= 0) error = ignore(SIGPIPE);
  if (error >= 0) error = ignore(SIGXFSZ);
  return error < 0 ? error : 0;
}
