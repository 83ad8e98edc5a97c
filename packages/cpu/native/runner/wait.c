/*
 * Waiting for the host. A thread either follows its caller (on the caller's CPU, where handing over is one switch
 * and wakes no other CPU) or, once short calls come quickly, moves to another CPU and spins; one missed request
 * sends it back.
 */
#include "runner.h"

enum { FOLLOW = 0, SPIN = 1 };
#define HOT_GAP_CYCLES 60000u
/* A guest's request comes with a kick, which takes longer than the request would. */
#define VM_HOT_GAP_CYCLES 600000u
#define HOT_NEEDED 16u
#define HOT_NEEDED_MAX 64u
#define GRACE_WAITS 4u
#define GRACE_CYCLES 400000u
#define WORTH_IT_HITS 64u
#define HITS_PER_GRACE 64u
#define YIELDS 2u
#define YIELDS_OFF_MAX 64u
/* A yield that took less gave the CPU to nobody. */
#define SWITCH_CYCLES 2500u

u8 cpu_mask[128];

void cpus_setup(void) {
  s64 bytes = start_call(204 /* sched_getaffinity */, 0, sizeof cpu_mask, (u64)cpu_mask, 0, 0, 0);
  enclave.cpus = 0;
  for (s64 i = 0; i < bytes; i++)
    for (u32 bit = 0; bit < 8; bit++) enclave.cpus += cpu_mask[i] >> bit & 1;
  if (enclave.cpus == 0) enclave.cpus = 1;
}

static s32 usable(u32 cpu) { return cpu < sizeof cpu_mask * 8 && (cpu_mask[cpu >> 3] >> (cpu & 7) & 1); }

static void run_only_on(u32 cpu) {
  u8 mask[128];
  for (u32 i = 0; i < sizeof mask; i++) mask[i] = 0;
  mask[cpu >> 3] = (u8)(1u << (cpu & 7));
  call_setaffinity(0, sizeof mask, mask);
}

static void run_anywhere_but(u32 cpu) {
  u8 mask[128];
  for (u32 i = 0; i < sizeof mask; i++) mask[i] = cpu_mask[i];
  if (cpu != NO_CPU) mask[cpu >> 3] &= (u8)~(1u << (cpu & 7));
  call_setaffinity(0, sizeof mask, mask);
}

static void follow(struct thread *t, struct gate *gate) {
  u32 cpu = READ(gate->host_cpu);
  if (cpu == t->cpu || enclave.cpus < 2) return;
  if (cpu == NO_CPU) run_anywhere_but(NO_CPU);
  else if (usable(cpu)) run_only_on(cpu);
  else return;
  t->cpu = cpu;
}

/* A timer of consumed CPU time: fires in a thread that computes, never in one that waits. */
void slice_timer_install(u32 tid) {
  struct { u64 value; s32 signal, notify; u32 tid; u32 rest[11]; } event = { 0, SLICE_SIGNAL, 4 /* THREAD_ID */, tid, { 0 } };
  const s64 period[4] = { 0, SLICE_MS * 1000000, 0, SLICE_MS * 1000000 };
  s32 timer = 0;
  if (start_call(222 /* timer_create */, 3 /* CLOCK_THREAD_CPUTIME_ID */, (u64)&event, (u64)&timer, 0, 0, 0) == 0)
    start_call(223 /* timer_settime */, (u64)timer, 0, (u64)period, 0, 0, 0);
}

/* A long computation must not compete with what else runs on its caller's CPU. */
void leave_callers_cpu(struct thread *t) {
  if (!t->inside || t->mode == SPIN || t->cpu == NO_CPU || enclave.cpus < 2) return;
  run_anywhere_but(NO_CPU);
  t->cpu = NO_CPU;
}

/* Calls follow one another closely: leave the caller's CPU and stay awake. */
static void start_spinning(struct thread *t, struct gate *gate) {
  u32 cpu = READ(gate->host_cpu);
  t->hot = 0;
  /* A guest's vCPU is on any CPU. */
  if (!vm_mode()) {
    if (!usable(cpu)) return;
    WRITE(gate->runner_cpu, NO_CPU);
    run_anywhere_but(cpu);
    t->cpu = NO_CPU - 1;
  }
  t->mode = SPIN;
  t->spin = vm_mode() ? VM_SPIN_CYCLES : SPIN_MAX_CYCLES;
  t->grace = GRACE_WAITS;
  t->hits = 0;
}

static void stop_spinning(struct thread *t) {
  t->mode = FOLLOW;
  t->hot = 0;
  if (t->hits < WORTH_IT_HITS) {
    if (t->hot_needed < HOT_NEEDED_MAX) t->hot_needed *= 2;
  } else {
    t->hot_needed = HOT_NEEDED;
  }
}

/* `polite`: the host may be about to run on this very CPU. */
static s32 spin(struct thread *t, struct gate *gate, u32 budget, s32 polite) {
  u64 start = 0;
  do {
    for (u32 i = 0; i < 16; i++) {
      if (READ(gate->request_seq) != t->seen) return 1;
      __asm__ volatile("pause");
    }
    if (polite) call_yield();
    if (!start) {
      u32 cpu;
      start = cycles(&cpu);
      if (READ(gate->runner_cpu) != cpu) WRITE(gate->runner_cpu, cpu);
    }
  } while (cycles_only() - start < budget);
  return 0;
}

static s32 arrived(struct thread *t, struct gate *gate) { return READ(gate->request_seq) != t->seen; }

static void note_gap(struct thread *t) {
  t->accepted = cycles_only();
  if (t->accepted - t->published >= (vm_mode() ? VM_HOT_GAP_CYCLES : HOT_GAP_CYCLES)) t->hot = 0;
}

/*
 * The host is on this CPU: let it run. Where it has more to do than its next request (a page to load, say), being let
 * run again in between is a waste of two switches: the next waits sleep at once.
 */
static void yield_for_request(struct thread *t, struct gate *gate) {
  if (t->yields_off) {
    t->yields_off--;
    return;
  }
  for (u32 i = 0; i < YIELDS && !arrived(t, gate); i++) {
    u64 before = cycles_only();
    call_yield();
    if (cycles_only() - before < SWITCH_CYCLES) break;
  }
  if (arrived(t, gate)) {
    t->yields_off_for = 0;
    return;
  }
  t->yields_off_for = t->yields_off_for ? (t->yields_off_for < YIELDS_OFF_MAX ? t->yields_off_for * 2 : YIELDS_OFF_MAX) : 1;
  t->yields_off = t->yields_off_for;
}

/* Returns when the host has published a request after the one seen last. */
void wait_for_request(struct thread *t, struct gate *gate) {
  static const s64 timeout[2] = { 2, 0 };
  if (t->mode == FOLLOW && t->hot >= t->hot_needed && enclave.cpus > 1) start_spinning(t, gate);
  if (t->mode == SPIN) {
    if (spin(t, gate, t->grace ? GRACE_CYCLES : t->spin, t->grace > 0)) {
      if (t->grace) t->grace--;
      if (++t->hits % HITS_PER_GRACE == 0 && t->grace == 0) t->grace = 1;
      t->accepted = cycles_only();
      return;
    }
    stop_spinning(t);
  }
  follow(t, gate);
  u32 cpu;
  cycles(&cpu);
  if (READ(gate->runner_cpu) != cpu) WRITE(gate->runner_cpu, cpu);
  /* Where a guest's vCPU is nobody knows, and it sends its kick only to who sleeps. */
  if (!vm_mode() && (enclave.cpus == 1 || READ(gate->host_cpu) == cpu)) yield_for_request(t, gate);
  if (!arrived(t, gate)) {
    EXCHANGE(gate->runner_asleep, 1);
    while (!arrived(t, gate)) call_futex(&gate->request_seq, 0 /* FUTEX_WAIT */, t->seen, timeout, 0, 0);
    WRITE(gate->runner_asleep, 0);
  }
  note_gap(t);
}

/* Makes the response visible and wakes the host if it sleeps. */
void publish(struct thread *t, struct gate *gate) {
  t->published = cycles_only();
  u64 took = t->published - t->accepted;
  WRITE(gate->response_cycles, took > 0xffffffff ? 0xffffffff : (u32)took);
  EXCHANGE(gate->response_seq, t->seen);
  /* Spinning pays only for calls that are shorter than the host's patience. */
  s32 brief = took < READ(gate->host_patience);
  if (brief) t->hot++;
  else t->hot = 0;
  if (READ(gate->host_asleep)) {
    if (vm_mode()) wake_guest();
    else call_futex(&gate->response_seq, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
    if (t->mode == SPIN) {
      /* The host gave up too early, or was interrupted: worth waiting for once in a while. */
      if (brief && t->hits >= HITS_PER_GRACE) {
        t->hits -= HITS_PER_GRACE;
        t->grace = 1;
      } else if (!brief && !t->grace) {
        stop_spinning(t);
      }
    }
  }
}
