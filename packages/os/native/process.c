/* Processes, their death, limits and places. */
#include "nsgx_os.h"
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

EXPORT int64_t nsgx_pidfd_open(int32_t pid) { return result(syscall(SYS_pidfd_open, pid, 0)); }

EXPORT int64_t nsgx_pidfd_signal(int32_t pidfd, int32_t signal_number) {
  return result(syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0));
}

EXPORT int64_t nsgx_pidfd_getfd(int32_t pidfd, int32_t fd) { return result(syscall(SYS_pidfd_getfd, pidfd, fd, 0)); }

/* out: pid, CLD_* code, status. Returns 1, or 0 when no child has ended (only with nohang). */
EXPORT int64_t nsgx_wait(int32_t by_pidfd, int32_t id, int32_t nohang, int32_t *out) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  idtype_t type = by_pidfd ? P_PIDFD : P_PID;
  if (RETRY(waitid(type, (id_t)id, &info, WEXITED | (nohang ? WNOHANG : 0))) < 0) return -errno;
  out[0] = info.si_pid;
  out[1] = info.si_code;
  out[2] = info.si_status;
  return info.si_pid != 0;
}

EXPORT int64_t nsgx_prctl(int32_t option, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return result(prctl(option, a, b, c, d));
}

EXPORT int64_t nsgx_gettid(void) { return syscall(SYS_gettid); }

EXPORT int64_t nsgx_getcpu(void) { return result(sched_getcpu()); }

/* mask: bytes of a CPU bitmap, a multiple of 8 long. */
EXPORT int64_t nsgx_set_affinity(int32_t pid, const void *mask, uint32_t bytes) {
  return result(syscall(SYS_sched_setaffinity, pid, bytes, mask));
}

EXPORT int64_t nsgx_set_affinity_one(int32_t pid, uint32_t cpu) {
  cpu_set_t set;
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return result(sched_setaffinity(pid, sizeof set, &set));
}

EXPORT int64_t nsgx_get_affinity(int32_t pid, void *mask, uint32_t bytes) {
  memset(mask, 0, bytes);
  return result(syscall(SYS_sched_getaffinity, pid, bytes, mask));
}

/* values: soft, hard as doubles; infinity stands for RLIM_INFINITY. */
EXPORT int64_t nsgx_get_rlimit(int32_t pid, int32_t resource, double *values) {
  struct rlimit limit;
  if (prlimit(pid, (enum __rlimit_resource)resource, NULL, &limit) < 0) return -errno;
  values[0] = limit.rlim_cur == RLIM_INFINITY ? __builtin_inf() : (double)limit.rlim_cur;
  values[1] = limit.rlim_max == RLIM_INFINITY ? __builtin_inf() : (double)limit.rlim_max;
  return 0;
}

static rlim_t limit_of(double value) { return value >= 9007199254740992.0 ? RLIM_INFINITY : (rlim_t)value; }

EXPORT int64_t nsgx_set_rlimit(int32_t pid, int32_t resource, double soft, double hard) {
  if (!(soft >= 0) || !(hard >= 0)) return -EINVAL;
  struct rlimit limit = {limit_of(soft), limit_of(hard)};
  return result(prlimit(pid, (enum __rlimit_resource)resource, &limit, NULL));
}

/* What a neighbour may try; used to show that it is refused. */
EXPORT int64_t nsgx_process_vm_read(int32_t pid, uint64_t address, void *into, uint64_t length) {
  struct iovec local = {into, length}, remote = {(void *)address, length};
  return result(process_vm_readv(pid, &local, 1, &remote, 1, 0));
}

EXPORT int64_t nsgx_process_vm_write(int32_t pid, uint64_t address, const void *from, uint64_t length) {
  struct iovec local = {(void *)(uintptr_t)from, length}, remote = {(void *)address, length};
  return result(process_vm_writev(pid, &local, 1, &remote, 1, 0));
}

EXPORT int64_t nsgx_ptrace_attach(int32_t pid) {
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0) return -errno;
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
  return 0;
}

/* Gives up root for good, in every thread: groups, gid, uid, no way back. */
EXPORT int64_t nsgx_become(uint32_t uid, uint32_t gid) {
  if (geteuid() == 0 && setgroups(0, NULL) < 0) return -errno;
  if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) return -errno;
  return 0;
}
