/*
 * Starting a process without copying the caller: clone(CLONE_VM|CLONE_VFORK). The child shares the caller's
 * memory until execve, so it only makes system calls, writes nothing but the report, and runs no handler.
 */
#include "nsgx_os.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define SPAWN_NEW_SESSION 1u
#define SPAWN_SET_IDS 2u
#define SPAWN_DROP_CAPABILITIES 4u
#define SPAWN_NO_NEW_PRIVS 8u
#define SPAWN_NO_CORE 16u
#define MAX_SPAWN_FDS 64
#define KERNEL_SIGNALS 64

/* Layout mirrored in src/spawn.ts. Strings follow the header; offsets are from its start; 0 = absent. */
struct spawn_request {
  uint32_t flags;
  int32_t exec_fd; /* >= 0: execveat of this descriptor instead of the path */
  uint32_t path, cwd;
  uint32_t argc, argv, envc, env; /* argv and env: offsets of argc / envc consecutive NUL-terminated strings */
  uint32_t death_signal, uid, gid, fd_count;
  int32_t fds[MAX_SPAWN_FDS][2]; /* child, parent; sorted by child */
};

enum stage { STAGE_NONE, STAGE_FDS, STAGE_PARENT, STAGE_SESSION, STAGE_IDS, STAGE_CAPS, STAGE_DEATH, STAGE_CWD, STAGE_EXEC };

struct child {
  const struct spawn_request *request;
  const char *path, *cwd;
  char **argv, **env;
  pid_t parent;
  volatile int error, stage;
};

static int fail(struct child *c, enum stage stage, int error) {
  c->stage = stage;
  c->error = error;
  return -1;
}

/* Above every number that the child asks for, so that no dup2 overwrites a source still needed. */
static int arrange_descriptors(struct child *c, int *exec_fd) {
  const struct spawn_request *r = c->request;
  int top = r->fd_count ? r->fds[r->fd_count - 1][0] + 1 : 0, moved[MAX_SPAWN_FDS];
  for (uint32_t i = 0; i < r->fd_count; i++) {
    moved[i] = fcntl(r->fds[i][1], F_DUPFD_CLOEXEC, top);
    if (moved[i] < 0) return fail(c, STAGE_FDS, errno);
  }
  *exec_fd = r->exec_fd < 0 ? -1 : fcntl(r->exec_fd, F_DUPFD_CLOEXEC, top);
  if (r->exec_fd >= 0 && *exec_fd < 0) return fail(c, STAGE_FDS, errno);
  unsigned from = 0;
  for (uint32_t i = 0; i < r->fd_count; i++) {
    unsigned to = (unsigned)r->fds[i][0];
    if (to > from) syscall(SYS_close_range, from, to - 1, 0);
    if (dup2(moved[i], (int)to) < 0) return fail(c, STAGE_FDS, errno);
    from = to + 1;
  }
  if (syscall(SYS_close_range, from, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return 0;
  struct rlimit limit; /* before Linux 5.11 */
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return fail(c, STAGE_FDS, errno);
  for (unsigned fd = from; fd < limit.rlim_cur && fd < 1u << 20; fd++) fcntl((int)fd, F_SETFD, FD_CLOEXEC);
  for (uint32_t i = 0; r->fd_count && i + 1 < r->fd_count; i++)
    for (int fd = r->fds[i][0] + 1; fd < r->fds[i + 1][0]; fd++) close(fd);
  return 0;
}

static int drop_capabilities(struct child *c, int bounding) {
  if (bounding) {
    for (unsigned long cap = 0; cap < 64; cap++)
      if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) break; /* EINVAL: past the last; EPERM: has none to lose */
    return 0;
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (syscall(SYS_capset, &header, data) < 0) return fail(c, STAGE_CAPS, errno);
  return 0;
}

static void reset_signals(void) {
  struct {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
  } action = {NULL, 0, NULL, 0};
  for (int s = 1; s <= KERNEL_SIGNALS; s++) syscall(SYS_rt_sigaction, s, &action, NULL, sizeof(uint64_t));
}

static int run_child(void *argument) {
  struct child *c = argument;
  const struct spawn_request *r = c->request;
  int exec_fd = -1;
  reset_signals();
  if (arrange_descriptors(c, &exec_fd) < 0) goto out;
  if ((r->flags & SPAWN_NEW_SESSION) && setsid() < 0) goto session;
  if (r->flags & SPAWN_DROP_CAPABILITIES) drop_capabilities(c, 1);
  if (r->flags & SPAWN_SET_IDS) { /* raw calls: libc would try to change the caller's threads as well */
    if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM) goto ids;
    if (syscall(SYS_setresgid, r->gid, r->gid, r->gid) < 0) goto ids;
    if (syscall(SYS_setresuid, r->uid, r->uid, r->uid) < 0) goto ids;
  }
  if ((r->flags & SPAWN_DROP_CAPABILITIES) && drop_capabilities(c, 0) < 0) goto out;
  if ((r->flags & SPAWN_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    fail(c, STAGE_CAPS, errno);
    goto out;
  }
  if (r->flags & SPAWN_NO_CORE) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
  }
  if (r->death_signal) { /* after the change of uid, which clears it */
    if (prctl(PR_SET_PDEATHSIG, r->death_signal, 0, 0, 0) < 0) {
      fail(c, STAGE_DEATH, errno);
      goto out;
    }
    if (getppid() != c->parent) {
      fail(c, STAGE_PARENT, ESRCH);
      goto out;
    }
  }
  if (c->cwd && chdir(c->cwd) < 0) {
    fail(c, STAGE_CWD, errno);
    goto out;
  }
  uint64_t empty = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &empty, NULL, sizeof empty);
  if (exec_fd >= 0)
    syscall(SYS_execveat, exec_fd, "", c->argv, c->env, AT_EMPTY_PATH);
  else
    execve(c->path, c->argv, c->env);
  fail(c, STAGE_EXEC, errno);
  goto out;
session:
  fail(c, STAGE_SESSION, errno);
  goto out;
ids:
  fail(c, STAGE_IDS, errno);
out:
  _exit(127);
}

static char **string_table(const char *base, uint64_t size, uint32_t offset, uint32_t count) {
  char **table = calloc((size_t)count + 1, sizeof *table);
  if (!table) return NULL;
  uint64_t at = offset;
  for (uint32_t i = 0; i < count; i++) {
    const char *end = at < size ? memchr(base + at, 0, size - at) : NULL;
    if (!end) {
      free(table);
      errno = EINVAL;
      return NULL;
    }
    table[i] = (char *)(uintptr_t)(base + at);
    at = (uint64_t)(end - base) + 1;
  }
  return table;
}

/* out: pid, pidfd, stage that failed. */
EXPORT int64_t nsgx_spawn(const void *request_bytes, uint64_t size, int32_t *out) {
  const struct spawn_request *r = request_bytes;
  const char *base = request_bytes;
  const size_t stack_size = 65536;
  out[2] = STAGE_NONE;
  if (size <= sizeof *r || base[size - 1] != 0 || r->fd_count > MAX_SPAWN_FDS || r->path >= size || r->cwd >= size)
    return -EINVAL;
  for (uint32_t i = 0; i < r->fd_count; i++)
    if (r->fds[i][0] < 0 || (i && r->fds[i][0] <= r->fds[i - 1][0])) return -EINVAL;
  struct child c = {.request = r, .path = base + r->path, .cwd = r->cwd ? base + r->cwd : NULL, .parent = getpid()};
  int64_t answer = 0;
  int pidfd = -1;
  void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return -errno;
  c.argv = string_table(base, size, r->argv, r->argc);
  c.env = c.argv ? string_table(base, size, r->env, r->envc) : NULL;
  if (!c.argv || !c.env) {
    answer = -(int64_t)errno;
  } else {
    uint64_t all = ~0ull, before = 0; /* no handler may run in the child while it shares this memory */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    pid_t pid = clone(run_child, (char *)stack + stack_size, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &c, &pidfd);
    int clone_error = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    if (pid < 0) {
      answer = -(int64_t)clone_error;
    } else if (c.error) {
      siginfo_t info;
      RETRY(waitid(P_PID, (id_t)pid, &info, WEXITED));
      close(pidfd);
      out[2] = c.stage;
      answer = -(int64_t)c.error;
    } else {
      out[0] = pid;
      out[1] = pidfd;
    }
  }
  free(c.argv);
  free(c.env);
  munmap(stack, stack_size);
  return answer;
}
