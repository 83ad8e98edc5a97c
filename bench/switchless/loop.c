/* Switchless calls one after another, without JavaScript between them: what measure.mjs puts in place of single calls. */
#include "../../packages/cpu/native/host/switchless.h"

u32 loop_ecalls(struct switchless *s, u64 function, u64 data, u32 *cycles, u32 count);
u32 loop_ocalls(struct switchless *s, struct host_gate *g, u32 leaf, u64 rdi, u64 rsi, u32 *cycles, u32 count);

/* Makes `count` ECALLs; gives how many a worker took. The cycles of each. */
u32 loop_ecalls(struct switchless *s, u64 function, u64 data, u32 *cycles, u32 count) {
  u32 done = 0;
  for (u32 i = 0; i < count; i++) {
    u64 start = __rdtsc();
    u32 kind = nsgx_switchless_call(s, function, data, 1000);
    u32 line = s->line;
    while ((kind & 0xff) == EXIT_KIND_NONE) kind = nsgx_switchless_await(s, line, 1000);
    if ((kind & 0xff) == WAIT_WORKER) return done;
    if ((kind & 0xff) == WAIT_DONE) cycles[done++] = (u32)(__rdtsc() - start);
  }
  return done;
}

/* Enters, and answers OCALLs until the exit; gives how many there were. The cycles from one OCALL to the next. */
u32 loop_ocalls(struct switchless *s, struct host_gate *g, u32 leaf, u64 rdi, u64 rsi, u32 *cycles, u32 count) {
  u32 done = 0;
  u32 kind = nsgx_switchless_enter(s, g, leaf, rdi, rsi, 1000);
  u64 last = __rdtsc();
  for (;;) {
    if ((kind & 0xff) == WAIT_OCALL) {
      u64 arrived = __rdtsc();
      if (done < count) cycles[done++] = (u32)(arrived - last);
      last = arrived;
      kind = nsgx_switchless_answer(s, g, kind >> 8, 0, 1000);
    } else if (kind == EXIT_KIND_NONE) {
      kind = nsgx_switchless_wait(s, g, 1000);
    } else {
      return done;
    }
  }
}
