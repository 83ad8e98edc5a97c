/* Carries out the plan: mappings, userfaultfd, and what the threads have to know. */
#include "runner.h"

#define PROT(flags) ((flags) & 7u)
#define MAP_SHARED 1u
#define MAP_PRIVATE_ANONYMOUS 0x22u
#define MAP_FIXED_NOREPLACE 0x100000u
#define MADV_POPULATE_READ 22
#define MLOCK2_CALL 325
#define MLOCK_ONFAULT 1
#define UFFD_CALL 323
#define UFFD_FLAGS (02000000u | 04000u | 1u) /* O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY */
#define UFFDIO_API 0xc018aa3ful
#define UFFDIO_REGISTER 0xc020aa00ul
#define UFFDIO_WRITEPROTECT 0xc018aa06ul
#define UFFD_FEATURES ((1u << 5) | (1u << 7) | (1u << 10) | (1u << 12)) /* MISSING_SHMEM SIGBUS MINOR_SHMEM WP_SHMEM */
#define UFFD_MODES 7u

struct enclave enclave;

static s64 map(u64 at, u64 length, u32 prot, u32 flags, s64 file, u64 offset) {
  s64 got = start_call(9, at, length, prot, flags | MAP_FIXED_NOREPLACE, (u64)file, offset);
  if (got < 0) return got;
  return (u64)got == at ? 0 : -17;
}

static s64 fail(struct started *out, u32 number, s64 error, u64 address, const char *reason) {
  out->flags |= STARTED_FLAG_FAILED;
  out->step = number;
  out->error_number = (u32)-error;
  out->address = address;
  for (u32 i = 0; i < sizeof out->reason - 1 && reason[i]; i++) out->reason[i] = (u8)reason[i];
  return error;
}

/* A userfaultfd whose faults arrive as SIGBUS, or a negative errno where the kernel refuses it. */
static s64 userfault_open(void) {
  struct { u64 api, features, ioctls; } api = { 0xaa, UFFD_FEATURES, 0 };
  s64 file = start_call(UFFD_CALL, UFFD_FLAGS, 0, 0, 0, 0, 0);
  if (file < 0) return file;
  s64 result = start_call(16 /* ioctl */, (u64)file, UFFDIO_API, (u64)&api, 0, 0, 0);
  if (result >= 0) return file;
  start_call(3, (u64)file, 0, 0, 0, 0, 0);
  return result;
}

s64 userfault_available(void) {
  s64 file = userfault_open();
  if (file >= 0) start_call(3 /* close */, (u64)file, 0, 0, 0, 0, 0);
  return file >= 0;
}

static s64 userfault_register(s64 file, u64 address, u64 length) {
  struct { u64 start, length, mode, ioctls; } range = { address, length, UFFD_MODES, 0 };
  return start_call(16, (u64)file, UFFDIO_REGISTER, (u64)&range, 0, 0, 0);
}

static s64 userfault_write_protect(s64 file, u64 address, u64 length) {
  struct { u64 start, length, mode; } range = { address, length, 1 };
  return start_call(16, (u64)file, UFFDIO_WRITEPROTECT, (u64)&range, 0, 0, 0);
}

/* Everything that is not part of the enclave's world goes: the vDSO, the clock pages, the kernel's first stack. */
static void unmap_the_rest(const struct plan *plan, struct started *out) {
  u64 keep[3][2] = {
    { MEMORY_IMAGE, MEMORY_END },
    { plan->span_start, plan->span_end },
    { plan->ram_base, plan->ram_base + plan->ram_bytes },
  };
  for (u32 i = 1; i < 3; i++)
    for (u32 k = i; k > 0 && keep[k - 1][0] > keep[k][0]; k--)
      for (u32 n = 0; n < 2; n++) {
        u64 swap = keep[k][n];
        keep[k][n] = keep[k - 1][n];
        keep[k - 1][n] = swap;
      }
  u64 at = 0x1000;
  for (u32 i = 0; i <= 3; i++) {
    u64 end = i < 3 ? keep[i][0] : 0x7ffffffff000ul;
    if (end > at && start_call(11 /* munmap */, at, end - at, 0, 0, 0, 0) < 0) out->flags |= STARTED_FLAG_VDSO_SEALED;
    if (i < 3 && keep[i][1] > at) at = keep[i][1];
  }
  /* The page above the ELRANGE stays unmapped: mprotect, which ends at a gap, cannot run over. */
  if (start_call(11, enclave.base + enclave.size, 4096, 0, 0, 0, 0) < 0) out->flags |= STARTED_FLAG_VDSO_SEALED;
}

static s32 table_fits(u64 bytes, u64 at, u64 count, u64 size) {
  return at <= bytes && at % 8 == 0 && count * size <= bytes - at;
}

/* Guard pages stay unmapped below both stacks of a thread. */
static s64 map_threads(const struct plan *plan) {
  /* In vm mode one more: the thread that takes mappings back. */
  u64 n = plan->threads + (plan->flags & PLAN_FLAG_VM ? 1 : 0);
  if (n == 0) return 0;
  s64 error = map(MEMORY_THREADS, n << 12, 3, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (!error) error = map(MEMORY_XSAVE, n * MEMORY_XSAVE_STRIDE, 3, MAP_PRIVATE_ANONYMOUS, -1, 0);
  for (u32 i = 0; i < n && !error; i++) {
    error = map(MEMORY_SIGNAL_STACKS + (u64)i * MEMORY_SIGNAL_STACK_STRIDE + 4096, MEMORY_SIGNAL_STACK_STRIDE - 4096, 3,
                MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (!error)
      error = map(MEMORY_STACKS + (u64)i * MEMORY_STACK_STRIDE + 4096, MEMORY_STACK_STRIDE - 4096, 3,
                  MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (error) break;
    struct thread *t = thread_at(i);
    t->index = i;
    t->gate = plan->gates + (u64)i * GATE_BYTES;
    t->control = MEMORY_CONTROL + CONTROL_BYTES + (u64)i * CONTROL_TCS_BYTES;
    t->hot_needed = 16;
    t->cpu = NO_CPU;
  }
  return error;
}

s64 plan_apply(int *files, u64 plan_bytes, struct started *out, int *userfault) {
  const struct plan *plan = (const struct plan *)(u64)MEMORY_PLAN;
  if (plan_bytes < sizeof *plan || plan_bytes > MEMORY_PLAN_MAX) return fail(out, 1, -22, plan_bytes, "plan size");
  s64 error = map(MEMORY_PLAN, plan_bytes, 1, MAP_SHARED, files[PLAN_FILE_PLAN], 0);
  if (error) return fail(out, 1, error, MEMORY_PLAN, "mapping the plan");
  if (plan->magic != PLAN_SIGNATURE || plan->threads + (plan->flags & PLAN_FLAG_VM ? 1 : 0) > MAX_THREADS || plan->maps > MAX_MAPS || plan->sites > MAX_SITES ||
      !table_fits(plan_bytes, plan->maps_at, plan->maps, sizeof(struct plan_map)) ||
      !table_fits(plan_bytes, plan->ranges_at, plan->ranges, sizeof(struct plan_range)))
    return fail(out, 2, -22, 0, "plan tables");
  if (xstate_bytes(plan->xfrm) > MEMORY_XSAVE_STRIDE || (plan->xfrm & ~xstate_xcr0) || (plan->xfrm & 3) != 3)
    return fail(out, 2, -22, plan->xfrm, "XFRM");
  const u8 *tables = (const u8 *)plan;
  enclave.base = plan->base;
  enclave.size = plan->size;
  enclave.ram_base = plan->ram_base;
  enclave.ram_bytes = plan->ram_bytes;
  enclave.xfrm = plan->xfrm;
  enclave.ssa_frame_bytes = plan->ssa_frame_bytes;
  enclave.miscselect = plan->miscselect;
  enclave.flags = plan->flags;
  enclave.xsave_bytes = xstate_bytes(plan->xfrm);
  enclave.xsave_pages = (enclave.xsave_bytes + 4095) / 4096;
  if (enclave.xsave_pages > enclave.ssa_frame_bytes / 4096 - 1) enclave.xsave_pages = enclave.ssa_frame_bytes / 4096 - 1;
  enclave.threads = plan->threads;
  enclave.ranges = plan->ranges;
  enclave.range = (const struct plan_range *)(tables + plan->ranges_at);
  enclave.sites = plan->sites;
  enclave.site = (const struct plan_site *)(u64)MEMORY_SITES;
  enclave.doorbell = (u32 *)plan->doorbell;
  enclave.span_start = plan->span_start;
  enclave.span_end = plan->span_end;
  enclave.wake_word = (u32 *)plan->wake_word;
  enclave.revoke = (struct revoke *)(plan->gates + (u64)plan->threads * GATE_BYTES);

  const struct plan_map *m = (const struct plan_map *)(tables + plan->maps_at);
  s64 fault_file = plan->flags & PLAN_FLAG_USERFAULT ? userfault_open() : -38;
  if (fault_file < 0) enclave.flags &= ~(u32)PLAN_FLAG_USERFAULT;
  for (u32 i = 0; i < plan->maps; i++) {
    if (m[i].file >= PLAN_FILE_COUNT) return fail(out, 3, -22, m[i].address, "plan file");
    u32 prot = PROT(m[i].flags);
    /* Pages that are not there yet can only be kept out of reach by userfaultfd. */
    if ((m[i].flags & MAP_FLAG_USERFAULT) && !(m[i].flags & MAP_FLAG_POPULATE) && fault_file < 0) prot = 0;
    error = map(m[i].address, m[i].length, prot, MAP_SHARED, files[m[i].file], m[i].offset);
    if (error) return fail(out, 3, error, m[i].address, "mapping");
    if (m[i].flags & MAP_FLAG_POPULATE) {
      error = start_call(28 /* madvise */, m[i].address, m[i].length, MADV_POPULATE_READ, 0, 0, 0);
      if (error < 0 && error != -22) return fail(out, 4, error, m[i].address, "populating");
    }
    if ((m[i].flags & MAP_FLAG_USERFAULT) && fault_file >= 0) {
      error = userfault_register(fault_file, m[i].address, m[i].length);
      /*
       * The kernel takes pages out of the tables when it reclaims memory, and each then faults. The driver has them brought
       * back (guest, paging/fault.ts), but an exit must find its SSA: what is there from the start stays, as far as
       * RLIMIT_MEMLOCK goes.
       */
      if (m[i].flags & MAP_FLAG_POPULATE) start_call(MLOCK2_CALL, m[i].address, m[i].length, MLOCK_ONFAULT, 0, 0, 0);
      /* So that a page without W has none, whatever the runner's own mprotect is used for later. */
      if (error >= 0 && (m[i].flags & MAP_FLAG_POPULATE) && !(m[i].flags & MAP_FLAG_W))
        error = userfault_write_protect(fault_file, m[i].address, m[i].length);
      if (error < 0) return fail(out, 5, error, m[i].address, "userfaultfd");
    }
  }
  error = map_threads(plan);
  if (error) return fail(out, 6, error, 0, "thread memory");
  unmap_the_rest(plan, out);
  *userfault = (int)fault_file;
  if (fault_file >= 0) out->flags |= STARTED_FLAG_USERFAULT;
  return 0;
}
