/* Shared by the runner's C files. Freestanding: no libc, no TLS, general registers only. */
#ifndef NSGX_RUNNER_H
#define NSGX_RUNNER_H
#include "layout.h"

#define NORETURN __attribute__((noreturn))
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Shared memory is read and written once, in the order of the program (x86 keeps stores in order). */
#define READ(place) (*(volatile __typeof__(place) *)&(place))
#define WRITE(place, value) (*(volatile __typeof__(place) *)&(place) = (value))
#define EXCHANGE(place, value) __atomic_exchange_n(&(place), (value), __ATOMIC_SEQ_CST)

#define SOCKET 3
#define AGENT_INDEX MAX_THREADS

/* What the runner knows of its enclave; copied from the plan at start. */
struct enclave {
  u64 base, size, ram_base, ram_bytes, xfrm;
  u64 span_start, span_end; /* the ELRANGE and the trampolines beside it */
  u32 flags, threads, ssa_frame_bytes, miscselect, ranges, sites;
  u32 xsave_bytes; /* of an image with XFRM's components */
  u32 xsave_pages; /* pages of a frame before the one with GPRSGX that hold such an image */
  const struct plan_range *range;
  const struct plan_site *site;
  u32 *doorbell;
  u32 *wake_word; /* vm mode: incremented and woken for a guest that sleeps */
  struct revoke *revoke; /* vm mode */
  u32 cpus; /* usable CPUs at start */
};
extern struct enclave enclave;
extern u32 process_id;
extern u8 cpu_mask[128];

static inline struct thread *thread_at(u32 index) {
  return (struct thread *)(u64)(MEMORY_THREADS + (index << 12));
}
static inline struct control *control(void) { return (struct control *)(u64)MEMORY_CONTROL; }

static inline u64 cycles(u32 *cpu) {
  u32 low, high, aux;
  __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
  *cpu = aux & 0xfff;
  return (u64)high << 32 | low;
}
static inline u64 cycles_only(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (u64)high << 32 | low;
}
static inline struct control_tcs *tcs(struct thread *t) { return (struct control_tcs *)t->control; }
static inline struct gate *gate(struct thread *t) { return (struct gate *)t->gate; }
static inline void set_state(struct thread *t, u32 state) { WRITE(tcs(t)->state, state); }
/* Counters have one writer: the thread. */
#define COUNT_ONE(t, counter) WRITE(tcs(t)->counter, tcs(t)->counter + 1)

#define RFLAGS_TF 0x100u
#define RFLAGS_RF 0x10000u
#define GPRSGX_SIZE 184
#define GPRSGX_URSP 144
#define GPRSGX_EXITINFO 160
#define GPRSGX_AEXNOTIFY 167
#define GPRSGX_FSBASE 168
static inline u8 *frame(struct thread *t, u32 index) {
  return (u8 *)(t->ssa + (u64)index * enclave.ssa_frame_bytes);
}
static inline u8 *gprsgx(u8 *at) { return at + enclave.ssa_frame_bytes - GPRSGX_SIZE; }
/* Debug opt-in counts in debug enclaves only. */
static inline int opted_in(const struct thread *t) {
  return (t->tcs_flags & TCS_FLAG_DBGOPTIN) && (enclave.flags & PLAN_FLAG_DEBUG);
}
static inline int canonical(u64 address) { return (u64)((s64)(address << 16) >> 16) == address; }
static inline int vm_mode(void) { return (enclave.flags & PLAN_FLAG_VM) != 0; }
static inline int in_elrange(u64 address) { return address - enclave.base < enclave.size; }
static inline int descriptor_mode(void) { return (enclave.flags & PLAN_FLAG_DESCRIPTORS) != 0; }

/* gate.S */
u32 enter_enclave(struct thread *t);
u32 resume_enclave(struct thread *t, const void *xsave);
void patched_enclu(void);
NORETURN void leave_to_host(struct thread *t, u32 why);
NORETURN void resume_context(void *context);
void signal_entry(void);
void load_xstate(const void *image);
s32 guarded_copy(void *to, const void *from, u64 bytes);
s32 guarded_store_pair(u64 *to, u64 first, u64 second);
s32 guarded_xsave(void *area, u64 mask);
s32 guarded_store_word(u32 *to, u32 value);
s32 guarded_load(const u8 *from, u8 *to);
s32 guarded_touch(u8 *at);
s32 try_int80(u32 number, u32 argument, s64 *result);
extern char enter_window_start[], enter_window_end[], resume_window_start[], resume_window_end[], resume_xrstor[];
extern char guard_start[], guard_end[], guard_fail[], int80_at[], int80_fail[], image_start[], image_end[];
extern char call_futex_ip[], call_setaffinity_ip[], call_read_ip[], call_yield_ip[], call_tgkill_ip[], call_exit_group_ip[], call_mprotect_ip[];
extern char call_mmap_ip[], call_munmap_ip[], descriptor_call[], descriptor_call_ip[], descriptor_call_end[];
/* Code that counts as the enclave's: its own, and the call on host descriptors. */
static inline int enclave_code(u64 rip) {
  return in_elrange(rip) || (descriptor_mode() && rip - (u64)descriptor_call < (u64)(descriptor_call_end - descriptor_call));
}
s64 call_futex(u32 *word, u64 op, u64 value, const void *timeout, u64 second, u64 third);
s64 call_setaffinity(u64 pid, u64 bytes, const u8 *mask);
s64 call_yield(void);
s64 call_read(u64 fd, void *to, u64 bytes);
s64 call_mprotect(u64 address, u64 length, u64 prot);
s64 call_mmap(u64 address, u64 length, u64 prot, u64 flags, u64 file, u64 offset);
s64 call_munmap(u64 address, u64 length);
s64 call_tgkill(u64 process, u64 thread, u64 signal);
NORETURN void call_exit_group(u64 status);

/* start.S */
s64 start_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);
s64 start_thread(u64 flags, void *stack_top, u32 *parent_tid, struct thread *t);
void no_restorer(void);

/* xstate.c */
void xstate_setup(void);
u32 xstate_bytes(u64 xfrm);
s32 xstate_acceptable(u8 *image);
extern u64 xstate_xcr0;
extern u32 xstate_stack_bytes;
extern const u8 xstate_initial[];

/* aex.c */
s32 frame_missing(struct thread *t, u32 index);
s32 aex_save(struct thread *t);
s32 eresume_load(struct thread *t);

/* signals.c */
void signals_install(void);
void signal_stack_install(u32 index);
NORETURN void on_signal(s32 signal, const s32 *info, u64 *context);

/* exception.c */
struct signal_facts { s32 trap; u32 error; u64 address; };
u32 page_fault_code(u64 address, u32 reported);
void exception_set(struct thread *t, u32 vector, u32 error_code, u64 address);
u32 exception_take(struct thread *t, s32 signal, const struct signal_facts *fact);

/* filter.c */
s64 filter_install(void);

/* descriptors.c */
s64 descriptors_prepare(void);
s64 descriptors_setup(s32 grants);
extern u32 descriptors_first;

/* thread.c */
NORETURN void thread_main(struct thread *t);
s32 admit(struct thread *t);
NORETURN void lost(u32 reason, u32 detail, u64 address);

/* entry.c: a request, copied once from its gate */
struct request { u32 function, step; u64 rdi, rsi, rdx, r8, r9, rsp, rbp, rcx, r10, r11, r12, r13, r14, r15; };
void enter(struct thread *t, const struct request *r);

/* leaf.c */
s32 leaf(struct thread *t, u32 number);
s32 ring_monitor(void);

/* wait.c */
void wait_for_request(struct thread *t, struct gate *gate);
void publish(struct thread *t, struct gate *gate);
void cpus_setup(void);
void leave_callers_cpu(struct thread *t);
void slice_timer_install(u32 tid);

/* outside.c */
s32 outside_map(struct thread *t, u64 address, u32 reported);
NORETURN void revoke_main(void);
void wake_guest(void);

/* plan.c */
s64 userfault_available(void);
s64 plan_apply(int *files, u64 plan_bytes, struct started *out, int *userfault);

/* main.c */
NORETURN void runner_main(const u64 *stack);
void thread_setup(struct thread *t);
void *memcpy(void *to, const void *from, u64 bytes);
void *memset(void *to, int value, u64 bytes);
#endif
