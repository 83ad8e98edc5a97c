/*
 * vm mode: the memory of the enclave's process, at the process' own addresses. A page is mapped when it is touched, by
 * walking the guest's page tables in guest RAM, and taken away when the guest's kernel says so. All of it is the guest's
 * to forge: what a walk can reach is guest RAM, which the enclave sees in any case.
 */
#include "runner.h"

#define PAGE 4096ul
#define LOWEST 0x10000ul /* below, hosts let nobody map */
#define HIGHEST 0x7ffffffff000ul
#define FRAME 0x000ffffffffff000ul
#define ENTRY_PRESENT 1u
#define ENTRY_WRITABLE 2u
#define ENTRY_USER 4u
#define ENTRY_DIRTY 0x40u
#define ENTRY_LARGE 0x80u
#define PF_WRITE 2u
#define PF_FETCH 16u
#define AROUND 16u /* pages that are looked at around a touched one */
#define TRIES 8
#define MAP_FLAGS 0x100001u
#define EEXIST 17

struct run { u64 at, physical, bytes; s32 writable; };

static u32 lock;

static void take(void) {
  while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) call_yield();
}
static void give(void) { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }

/* The guest sleeps where no futex of ours reaches: it is interrupted. */
void wake_guest(void) {
  __atomic_fetch_add(enclave.wake_word, 1, __ATOMIC_SEQ_CST);
  call_futex(enclave.wake_word, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
}

/* What is the runner's own, ascending. */
static void own_ranges(u64 own[3][2]) {
  const u64 all[3][2] = {
    { MEMORY_IMAGE & ~0xffffffful, MEMORY_END },
    { enclave.span_start, enclave.span_end },
    { enclave.ram_base, enclave.ram_base + enclave.ram_bytes },
  };
  u32 first_high = all[1][0] < all[2][0] ? 1 : 2;
  for (u32 n = 0; n < 2; n++) {
    own[0][n] = all[0][n];
    own[1][n] = all[first_high][n];
    own[2][n] = all[3 - first_high][n];
  }
}

/* Nothing of the guest may be mapped here. */
static s32 is_own(u64 from, u64 to) {
  u64 own[3][2];
  if (from < LOWEST || to > HIGHEST) return 1;
  own_ranges(own);
  for (u32 i = 0; i < 3; i++)
    if (from < own[i][1] && own[i][0] < to) return 1;
  return 0;
}

static u64 entry_at(u64 table, u64 index) { return READ(((const u64 *)(enclave.ram_base + table))[index]); }

static s32 may_write(u64 entry) { return (entry & (ENTRY_WRITABLE | ENTRY_DIRTY)) == (ENTRY_WRITABLE | ENTRY_DIRTY); }

/* Pages around `va` whose frames follow one another, with equal rights, inside one table. */
static void widen(u64 table, u64 va, u64 entry, struct run *run) {
  u64 index = va >> 12 & 511, first = index & ~(u64)(AROUND - 1), from = index, to = index + 1;
  u64 rights = ENTRY_PRESENT | ENTRY_USER, frame = entry & FRAME;
  for (; from > first; from--) {
    u64 other = entry_at(table, from - 1);
    if ((other & rights) != rights || may_write(other) != may_write(entry) || (other & FRAME) != frame - (index - from + 1) * PAGE)
      break;
  }
  for (; to < first + AROUND; to++) {
    u64 other = entry_at(table, to);
    if ((other & rights) != rights || may_write(other) != may_write(entry) || (other & FRAME) != frame + (to - index) * PAGE)
      break;
  }
  run->at = (va & ~0x1ffffful) + from * PAGE;
  run->physical = frame - (index - from) * PAGE;
  run->bytes = (to - from) * PAGE;
}

/* Translates as the processor would for user mode; 0 when there is no translation that fits into guest RAM. */
static s32 walk(u64 root, u64 va, struct run *run) {
  u64 table = root & FRAME;
  s32 writable = 1;
  for (s32 level = root & VM_ROOT_LA57 ? 5 : 4; level > 0; level--) {
    u32 shift = 12 + 9 * (u32)(level - 1);
    if (table > enclave.ram_bytes - PAGE) return 0;
    u64 entry = entry_at(table, va >> shift & 511);
    if ((entry & (ENTRY_PRESENT | ENTRY_USER)) != (ENTRY_PRESENT | ENTRY_USER)) return 0;
    if (!(entry & ENTRY_WRITABLE)) writable = 0;
    if (level > 1 && !(entry & ENTRY_LARGE)) {
      table = entry & FRAME;
      continue;
    }
    if (level > 3) return 0;
    u64 bytes = 1ul << shift, frame = entry & FRAME & ~(bytes - 1);
    /* Writing here sets no dirty bit there: the guest's kernel has to have set it. */
    run->writable = writable && may_write(entry);
    run->at = va & ~(bytes - 1);
    run->physical = frame;
    run->bytes = bytes;
    if (level == 1) widen(table, va, entry, run);
    if (run->bytes > enclave.ram_bytes || run->physical > enclave.ram_bytes - run->bytes || is_own(run->at, run->at + run->bytes)) {
      run->at = va & ~(PAGE - 1);
      run->physical = frame + (run->at & (bytes - 1));
      run->bytes = PAGE;
    }
    return run->physical <= enclave.ram_bytes - PAGE && !is_own(run->at, run->at + PAGE);
  }
  return 0;
}

/* Takes [from, to) away, but for what is the runner's own. */
static void unmap(u64 from, u64 to) {
  u64 own[3][2], at = from < LOWEST ? LOWEST : from & ~(PAGE - 1);
  if (to > HIGHEST) to = HIGHEST;
  own_ranges(own);
  for (u32 i = 0; i <= 3; i++) {
    u64 end = i < 3 && own[i][0] < to ? own[i][0] : to;
    if (end > at) call_munmap(at, end - at);
    if (i < 3 && own[i][1] > at) at = own[i][1];
  }
}

/* Maps the run, over a mapping with fewer rights if there is one. */
static s32 map_run(const struct run *run, u64 va) {
  u64 prot = run->writable ? 3 : 1;
  s64 got = call_mmap(run->at, run->bytes, prot, MAP_FLAGS, RAM_FILE, run->physical);
  if (got != -EEXIST) return got >= 0;
  u64 page = va & ~(PAGE - 1);
  call_munmap(page, PAGE);
  return call_mmap(page, PAGE, prot, MAP_FLAGS, RAM_FILE, run->physical + (page - run->at)) >= 0;
}

/*
 * Maps what the guest has at an address outside of the ELRANGE. Returns 1 when the access can be tried again; 0 when it
 * is a page fault of the guest: no translation, no right, or its kernel is just changing something.
 */
s32 outside_map(struct thread *t, u64 address, u32 reported) {
  struct revoke *revoke = enclave.revoke;
  if (in_elrange(address) || (reported & PF_FETCH) || is_own(address & ~(PAGE - 1), (address & ~(PAGE - 1)) + PAGE)) return 0;
  s32 done = 0;
  take();
  for (u32 i = 0; i < TRIES && !done; i++) {
    struct run run;
    u32 generation = __atomic_load_n(&revoke->generation, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&revoke->invalidating, __ATOMIC_SEQ_CST)) break;
    if (!walk(t->root, address, &run) || ((reported & PF_WRITE) && !run.writable)) break;
    if (READ(revoke->mapped) >= MAX_OUTSIDE_MAPS) {
      unmap(LOWEST, HIGHEST);
      WRITE(revoke->mapped, 0);
    }
    /* Counted before it is there: who changes page tables and sees 0 may go on at once, as the check below will see it. */
    __atomic_fetch_add(&revoke->mapped, 2, __ATOMIC_SEQ_CST);
    if (!map_run(&run, address)) break;
    if (__atomic_load_n(&revoke->generation, __ATOMIC_SEQ_CST) == generation &&
        !__atomic_load_n(&revoke->invalidating, __ATOMIC_SEQ_CST))
      done = 1;
    else
      unmap(run.at, run.at + run.bytes);
  }
  give();
  return done;
}

/* The thread that takes mappings back on the guest's word. */
NORETURN void revoke_main(void) {
  static const s64 timeout[2] = { 2, 0 };
  struct revoke *revoke = enclave.revoke;
  u32 seen = 0;
  for (;;) {
    u32 seq = __atomic_load_n(&revoke->seq, __ATOMIC_SEQ_CST);
    if (seq == seen) {
      EXCHANGE(revoke->asleep, 1);
      if (READ(revoke->seq) == seen) call_futex(&revoke->seq, 0 /* FUTEX_WAIT */, seen, timeout, 0, 0);
      WRITE(revoke->asleep, 0);
      continue;
    }
    u64 from = READ(revoke->start), to = READ(revoke->end);
    if (from < to) {
      take();
      unmap(from, to);
      if (from <= LOWEST && to >= HIGHEST) WRITE(revoke->mapped, 0);
      give();
    }
    seen = seq;
    EXCHANGE(revoke->ack_seq, seq);
    if (READ(revoke->guest_asleep)) wake_guest();
  }
}
