/*
 * Copies that survive a page that cannot be touched (a hole in a truncated file, memory exhausted, an unmapped
 * address). A fault inside the one copy instruction is turned into a result; every other fault goes to whoever
 * handled it before.
 */
#include "nsgx_os.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

extern const char nsgx_guard_begin[] __attribute__((visibility("hidden")));
extern const char nsgx_guard_end[] __attribute__((visibility("hidden")));
extern const char nsgx_guard_fixup[] __attribute__((visibility("hidden")));
/* rdi destination, rsi source, rdx length; returns the bytes that were not copied. */
uint64_t nsgx_guard_copy(void *destination, const void *source, uint64_t length) __attribute__((visibility("hidden")));

__asm__(".text\n.p2align 4\n.hidden nsgx_guard_copy\n.globl nsgx_guard_copy\n.type nsgx_guard_copy,@function\n"
        "nsgx_guard_copy:\n mov %rdx,%rcx\n"
        ".hidden nsgx_guard_begin\n.globl nsgx_guard_begin\nnsgx_guard_begin:\n rep movsb\n"
        ".hidden nsgx_guard_end\n.globl nsgx_guard_end\nnsgx_guard_end:\n"
        ".hidden nsgx_guard_fixup\n.globl nsgx_guard_fixup\nnsgx_guard_fixup:\n mov %rcx,%rax\n ret\n"
        ".size nsgx_guard_copy,.-nsgx_guard_copy\n");

static struct sigaction previous_segv, previous_bus;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_fault(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  uint64_t rip = (uint64_t)registers[REG_RIP];
  if (info->si_code > 0 && rip >= (uint64_t)nsgx_guard_begin && rip < (uint64_t)nsgx_guard_end) {
    registers[REG_RIP] = (greg_t)(uint64_t)nsgx_guard_fixup;
    return;
  }
  const struct sigaction *previous = number == SIGBUS ? &previous_bus : &previous_segv;
  if (previous->sa_flags & SA_SIGINFO) {
    previous->sa_sigaction(number, info, context);
  } else if (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
    previous->sa_handler(number);
  } else { /* back to the default: the instruction faults again and ends the process, as without us */
    sigaction(number, previous, NULL);
    if (info->si_code <= 0) raise(number);
  }
}

static int install(int number, struct sigaction *previous) {
  struct sigaction current;
  if (sigaction(number, NULL, &current) < 0) return -errno;
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_fault) return 0;
  *previous = current; /* before ours can run */
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(number, &action, NULL) < 0 ? -errno : 0;
}

/* Idempotent; call again if something else replaced the handlers since. */
EXPORT int64_t nsgx_guard_install(void) {
  pthread_mutex_lock(&lock);
  int r = install(SIGSEGV, &previous_segv);
  if (r == 0) r = install(SIGBUS, &previous_bus);
  pthread_mutex_unlock(&lock);
  return r;
}

/* Bytes not copied: 0 when all were. */
EXPORT uint64_t nsgx_guarded_copy(void *destination, const void *source, uint64_t length) {
  return nsgx_guard_copy(destination, source, length);
}
