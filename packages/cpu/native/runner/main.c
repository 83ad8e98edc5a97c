/* The runner's life: refuse or say HELLO, wait for START, map, start threads, close the door, stay as the agent. */
#include "runner.h"

#define AT_HWCAP2 26
#define AT_MINSIGSTKSZ 51
#define CLONE_FLAGS 0x150f00ul /* VM FS FILES SIGHAND THREAD SYSVSEM PARENT_SETTID */
#define PR_GET_DUMPABLE 3
#define PR_SET_DUMPABLE 4
#define SIGNAL_STACK_NEEDED (MEMORY_SIGNAL_STACK_STRIDE / 4)

struct io_vector { void *base; u64 bytes; };
struct message { void *name; u32 name_bytes, pad; struct io_vector *part; u64 parts; void *control; u64 control_bytes; s32 flags; };
struct file_message { u64 bytes; s32 level, type; s32 files[PLAN_FILE_COUNT + 1]; };
struct thread_descriptor { u32 entry, base, limit, bits; };

u32 process_id;
static u32 thread_lookup_entry = (u32)-1;
static u32 threads_up, go;
static u32 tids[MAX_THREADS + 1];
void *memcpy(void *to, const void *from, u64 bytes) {
  u8 *t = to;
  const u8 *f = from;
  while (bytes--) *t++ = *f++;
  return to;
}
void *memset(void *to, int value, u64 bytes) {
  u8 *t = to;
  while (bytes--) *t++ = (u8)value;
  return to;
}

/* Installs `limit` in a descriptor of this thread's GDT. Returns 0 when the kernel refuses or has no 32-bit calls. */
static s32 set_thread_lookup(u32 limit) {
  /* 32-bit system calls take 32-bit pointers: the runner's stack is low. */
  struct thread_descriptor d = { thread_lookup_entry, 0, limit, 0x41 /* seg_32bit, useable */ };
  s64 result = -1;
  if (try_int80(243 /* set_thread_area */, (u32)(u64)&d, &result) || result < 0) return 0;
  thread_lookup_entry = d.entry;
  u32 got = 0, selector = d.entry * 8 + 3;
  __asm__ volatile("lsl %1, %0" : "=r"(got) : "r"(selector) : "cc");
  return got == limit;
}

void thread_setup(struct thread *t) {
  signal_stack_install(t->index);
  if (thread_lookup_entry != (u32)-1) set_thread_lookup(t->index << 12);
  slice_timer_install((u32)start_call(186 /* gettid */, 0, 0, 0, 0, 0, 0));
  /* Where the processor can, CPUID faults from here on; elsewhere the kernel refuses. */
  start_call(158 /* arch_prctl */, 0x1012 /* ARCH_SET_CPUID */, 0, 0, 0, 0, 0);
  load_xstate(xstate_initial);
  __atomic_fetch_add(&threads_up, 1, __ATOMIC_SEQ_CST);
  call_futex(&threads_up, 1, 1, 0, 0, 0);
  while (!READ(go)) call_futex(&go, 0, 0, 0, 0, 0);
}

static void say(const void *bytes, u64 length, int file) {
  struct io_vector part = { (void *)bytes, length };
  struct file_message files = { 20, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, { file } };
  struct message m = { 0, 0, 0, &part, 1, file >= 0 ? &files : 0, file >= 0 ? 24 : 0, 0 };
  start_call(46 /* sendmsg */, SOCKET, (u64)&m, 0x4000 /* MSG_NOSIGNAL */, 0, 0, 0);
}

static void refuse(struct hello *hello, const char *reason) {
  hello->flags |= HELLO_FLAG_REFUSED;
  for (u32 i = 0; i < sizeof hello->reason - 1 && reason[i]; i++) hello->reason[i] = (u8)reason[i];
  say(hello, sizeof *hello, -1);
  call_exit_group(2);
}

static void greet(u64 hwcap2, u64 signal_frame, s32 was_dumpable) {
  struct hello hello = { .magic = MAGIC_HELLO, .layout = LAYOUT_ID };
  xstate_setup();
  hello.xcr0 = xstate_xcr0;
  hello.xsave_bytes = xstate_bytes(xstate_xcr0);
  hello.signal_stack_bytes = (u32)signal_frame;
  if (!(hwcap2 & 2)) refuse(&hello, "FSGSBASE is not enabled");
  if (signal_frame > SIGNAL_STACK_NEEDED) refuse(&hello, "signal frames are too large");
  if (start_call(157, PR_GET_DUMPABLE, 0, 0, 0, 0, 0) != 0) refuse(&hello, "the process is dumpable");
  if (set_thread_lookup(0)) {
    hello.flags |= HELLO_FLAG_THREAD_LOOKUP;
    hello.selector = thread_lookup_entry * 8 + 3;
  } else {
    thread_lookup_entry = (u32)-1;
  }
  hello.patched_enclu = (u32)(u64)patched_enclu;
  if (!was_dumpable) hello.flags |= HELLO_FLAG_NOT_DUMPABLE_FROM_START;
  if (userfault_available()) hello.flags |= HELLO_FLAG_USERFAULT;
  say(&hello, sizeof hello, -1);
}

/* Waits for START; leaves when the cvm is gone. Returns the plan's size. */
static u64 await_start(int *files) {
  struct start start = { 0, 0, 0 };
  struct file_message received = { 0, 0, 0, { 0 } };
  struct io_vector part = { &start, sizeof start };
  struct message m = { 0, 0, 0, &part, 1, &received, sizeof received, 0 };
  s64 got = start_call(47 /* recvmsg */, SOCKET, (u64)&m, 0, 0, 0, 0);
  if (got != sizeof start || start.magic != MAGIC_START || start.files != PLAN_FILE_COUNT ||
      received.bytes != 16 + 4 * PLAN_FILE_COUNT)
    call_exit_group(got == 0 ? 0 : 3);
  for (u32 i = 0; i < PLAN_FILE_COUNT; i++) files[i] = received.files[i];
  return start.plan_bytes;
}

static s64 start_threads(void) {
  u32 all = enclave.threads + (vm_mode() ? 1 : 0);
  for (u32 i = 0; i < all; i++) {
    u64 top = MEMORY_STACKS + (u64)(i + 1) * MEMORY_STACK_STRIDE;
    s64 tid = start_thread(CLONE_FLAGS, (void *)top, &tids[i], thread_at(i));
    if (tid < 0) return tid;
    thread_at(i)->tid = (u32)tid;
    if (i == enclave.threads) break;
    struct control_tcs *c = (struct control_tcs *)thread_at(i)->control;
    WRITE(c->tid, (u32)tid);
  }
  for (;;) {
    u32 up = READ(threads_up);
    if (up == all) return 0;
    call_futex(&threads_up, 0, up, 0, 0, 0);
  }
}

/* mprotect rounds its length up to pages; one byte less keeps the whole ELRANGE inside the filter's mask. */
static void protect(const struct agent *order) {
  s64 result = -22;
  u64 from = order->address - enclave.base;
  if (from < enclave.size && order->length > 0 && order->length <= enclave.size - from)
    result = call_mprotect(order->address, order->length - 1, order->prot);
  WRITE(control()->agent_result, (u32)-result);
  EXCHANGE(control()->agent_seq, order->seq);
  call_futex(&control()->agent_seq, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
}

NORETURN static void agent(void) {
  for (;;) {
    struct agent order = { .magic = 0 };
    s64 got = call_read(SOCKET, &order, sizeof order);
    if (got == -4) continue; /* EINTR: a signal to the whole process */
    if (got <= 0) lost(LOST_PEER_GONE, 0, 0);
    if (got != sizeof order || order.magic != MAGIC_AGENT) continue;
    if (order.op == AGENT_OP_STOP) lost(LOST_STOPPED, 0, 0);
    if (order.op == AGENT_OP_PROTECT) protect(&order);
    if (order.op == AGENT_OP_KICK && order.thread < enclave.threads)
      call_tgkill(process_id, tids[order.thread], KICK_SIGNAL);
  }
}

NORETURN void runner_main(const u64 *stack) {
  u64 hwcap2 = 0, signal_frame = 2048;
  const u64 *at = stack + 1 + stack[0] + 1;
  while (*at) at++;
  for (at++; at[0]; at += 2) {
    if (at[0] == AT_HWCAP2) hwcap2 = at[1];
    if (at[0] == AT_MINSIGSTKSZ) signal_frame = at[1];
  }
  s32 was_dumpable = start_call(157, PR_GET_DUMPABLE, 0, 0, 0, 0, 0) == 1;
  start_call(157, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
  process_id = (u32)start_call(39 /* getpid */, 0, 0, 0, 0, 0, 0);
  cpus_setup();

  s64 error = start_call(9, MEMORY_SIGNAL_STACKS + (u64)AGENT_INDEX * MEMORY_SIGNAL_STACK_STRIDE + 4096,
                         MEMORY_SIGNAL_STACK_STRIDE - 4096, 3, 0x100022, (u64)-1, 0);
  if (error > 0) error = start_call(9, (u64)thread_at(AGENT_INDEX), 4096, 3, 0x100022, (u64)-1, 0);
  if (error < 0) call_exit_group(4);
  signal_stack_install(AGENT_INDEX);
  signals_install();
  greet(hwcap2, signal_frame, was_dumpable);

  int files[PLAN_FILE_COUNT], userfault = -1;
  struct started started = { .magic = MAGIC_STARTED };
  u64 plan_bytes = await_start(files);
  error = plan_apply(files, plan_bytes, &started, &userfault);
  if (!error) {
    if (descriptor_mode()) error = descriptors_prepare();
    if (!error) error = start_threads();
    if (error) {
      started.flags |= STARTED_FLAG_FAILED;
      started.step = 7;
      started.error_number = (u32)-error;
    }
  }
  say(&started, sizeof started, userfault);
  if (error) call_exit_group(5);
  if (descriptor_mode() && descriptors_setup(files[PLAN_FILE_GRANTS]) < 0) call_exit_group(8);
  if (!descriptor_mode()) start_call(436 /* close_range */, 0, SOCKET - 1, 0, 0, 0, 0);
  if (vm_mode() && files[PLAN_FILE_RAM] != RAM_FILE && start_call(33 /* dup2 */, (u64)files[PLAN_FILE_RAM], RAM_FILE, 0, 0, 0, 0) < 0)
    call_exit_group(7);
  if (!descriptor_mode()) start_call(436, vm_mode() ? RAM_FILE + 1 : SOCKET + 1, 0xffffffff, 0, 0, 0, 0);
  if (filter_install()) call_exit_group(6);
  WRITE(control()->ready, 1);
  call_futex(&control()->ready, 1, 0x7fffffff, 0, 0, 0);
  WRITE(go, 1);
  call_futex(&go, 1, 0x7fffffff, 0, 0, 0);
  agent();
}
