/* Which exception a fault of the CPU is inside an enclave. */
#define WANT_EXCEPTION_TABLE
#include "runner.h"

#define SIGILL 4
#define SIGSYS 31
#define INT3 0xccu
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_FETCH 16u
#define PF_KEY 32u
#define PF_SGX 0x8000u

#define NO_BYTE 0x100u

/* A byte of code. Where its page has gone meanwhile, `gone` is set: the instruction must be tried again. */
static u32 byte_at(u64 address, u64 *gone) {
  u8 value = 0;
  if (!in_elrange(address)) return NO_BYTE;
  if (guarded_load((const u8 *)address, &value)) {
    *gone = address;
    return NO_BYTE;
  }
  return value;
}

static s32 listed(const u8 *list, u64 count, u32 value) {
  for (u64 i = 0; i < count; i++)
    if (list[i] == value) return 1;
  return 0;
}

/* A fault of an instruction that is illegal inside an enclave is #UD there. */
static s32 illegal_instruction(u64 rip, u64 *gone) {
  for (u32 i = 0; i < 14; i++, rip++) {
    u32 op = byte_at(rip, gone);
    if (op == 0x66 || op == 0x67 || op == 0xf2 || op == 0xf3 || op == 0x2e || op == 0x36 || op == 0x3e ||
        op == 0x26 || op == 0x64 || op == 0x65 || (op & 0xf0) == 0x40)
      continue;
    if (op == 0x0f) return listed(illegal_opcodes_0f, COUNT(illegal_opcodes_0f), byte_at(rip + 1, gone));
    if (op == 0xff) {
      /* Far CALL and far JMP. */
      u32 extension = byte_at(rip + 1, gone) >> 3 & 7;
      return extension == 3 || extension == 5;
    }
    return listed(illegal_opcodes, COUNT(illegal_opcodes), op);
  }
  return 0;
}

static s32 is_enclu(u64 rip, u64 *gone) {
  return byte_at(rip, gone) == 0x0f && byte_at(rip + 1, gone) == 0x01 && byte_at(rip + 2, gone) == 0xd7;
}

/*
 * An INT3 that stands for an ENCLU: in the ENCLU's first byte for good, or in a patched mov's for the moment in which the
 * patch is taken back (which may be over by now). Returns BACK_ENCLU with the site, BACK_TRAMPOLINE with its address in
 * RIP where code between mov and ENCLU is still to be executed, or 0.
 */
static u32 breakpoint_site(struct thread *t, u64 at, u64 *gone) {
  static const u8 back_to_mov[] = { 0, 5, 7, 0 };
  u32 rows = READ(control()->sites);
  if (rows > enclave.sites) rows = enclave.sites;
  for (u32 i = 0; i < rows; i++) {
    const struct plan_site *site = &enclave.site[i];
    u32 kind = READ(site->kind), mov = back_to_mov[kind & 3], gap = kind >> 8 & 0xff;
    if (site->enclu - gap - mov != at || ((kind & SITE_KIND_RETIRED) && byte_at(at, gone) == INT3)) continue;
    if (gap) {
      t->rip = MEMORY_TRAMPOLINES + (u64)i * MEMORY_TRAMPOLINE_STRIDE;
      return BACK_TRAMPOLINE;
    }
    t->rip = site->enclu;
    if (mov) t->site = i << 1 | (t->rflags >> 6 & 1);
    return BACK_ENCLU;
  }
  return 0;
}

/* RIP of the system call that the filter refused, or 0 when the call was not made by an instruction of the enclave. */
static u64 refused_call(u64 rip, u64 *gone) {
  u32 first = byte_at(rip - 2, gone), second = byte_at(rip - 1, gone);
  if ((first == 0x0f && (second == 0x05 || second == 0x34)) || (first == 0xcd && second == 0x80)) return rip - 2;
  return 0;
}

/* Pages that were added without R are mapped without any right: no page-table entry tells that they are there. */
static s32 added_unreadable(u64 address) {
  u32 low = 0, high = enclave.ranges;
  while (low < high) {
    u32 middle = (low + high) / 2;
    const struct plan_range *range = &enclave.range[middle];
    if (address - range->address < range->length) return !(range->permissions & (MAP_FLAG_R | MAP_FLAG_X));
    if (address < range->address) high = middle;
    else low = middle + 1;
  }
  return 0;
}

/*
 * The error code of a page fault. P is the processor's: a page without a page-table entry (never added, not accepted,
 * blocked and gone, evicted, unmapped by the guest) has P = 0, and the guest can bring it. Where there is an entry that
 * refuses the access, the EPCM is what took the right away: P = 1 and the SGX bit.
 */
u32 page_fault_code(u64 address, u32 reported) {
  u32 access = (reported & (PF_WRITE | PF_FETCH | PF_KEY)) | PF_USER;
  if (!in_elrange(address) || (reported & PF_KEY)) return access | (reported & PF_PRESENT);
  return (reported & PF_PRESENT) || added_unreadable(address) ? access | PF_PRESENT | PF_SGX : access;
}

/* EXITINFO and EXINFO follow from the vector; interrupts and what the manual does not list are not reported. */
void exception_set(struct thread *t, u32 vector, u32 error_code, u64 address) {
  u32 bit = vector < 32 ? 1u << vector : 0;
  t->vector = vector;
  t->error_code = error_code;
  t->address = address;
  t->has_exinfo = (bit & EXINFO_VECTORS) && (enclave.miscselect & 1);
  t->exit_info = (bit & REPORTED_VECTORS) || t->has_exinfo ? vector | (vector == 3 ? 6u : 3u) << 8 | 1u << 31 : 0;
}

/* The page of the code that an exception is to be told by is gone: a fetch that faults, after which it happens again. */
static u32 fetch_again(struct thread *t, u64 rip, u64 gone) {
  t->rip = rip;
  exception_set(t, 14, page_fault_code(gone, PF_FETCH), gone);
  return BACK_FAULT;
}

/*
 * Sets the exception that a signal of the CPU means, and RIP. Returns BACK_FAULT, BACK_ENCLU at an ENCLU, or
 * BACK_TRAMPOLINE: the thread goes on at RIP.
 */
u32 exception_take(struct thread *t, s32 signal, const struct signal_facts *fact) {
  const struct exception_row *row = 0;
  for (u32 i = 0; i < COUNT(exception_rows) && !row; i++)
    if (exception_rows[i].signal == signal && (exception_rows[i].trap < 0 || exception_rows[i].trap == fact->trap))
      row = &exception_rows[i];
  if (!row) lost(LOST_STUB_FAULT, (u32)signal | (u32)fact->trap << 8, t->rip);
  t->site = (u32)-1;
  u32 vector = row->vector;
  u64 at = t->rip - row->rewind, gone = 0;
  if (signal == SIGSYS) {
    at = refused_call(t->rip, &gone);
    if (gone) return fetch_again(t, t->rip - 2, gone);
  }
  if (vector == 3 && in_elrange(at)) {
    u32 why = breakpoint_site(t, at, &gone);
    if (why) return why;
  }
  if (vector == 3) {
    u32 byte = byte_at(at, &gone);
    if (gone) return fetch_again(t, at, gone);
    /* INT3 without opt-in, or the two bytes of INT 3. */
    if (byte != INT3) at--;
    if (byte != INT3 || !opted_in(t)) vector = 6;
  }
  if (!enclave_code(at) || (vector == 14 && (fact->error & PF_FETCH) && !in_elrange(fact->address))) {
    /* Fetched outside the ELRANGE. */
    if (in_elrange(at)) t->rip = at;
    exception_set(t, 13, 0, 0);
    return BACK_FAULT;
  }
  t->rip = at;
  if (vector == 6 && signal == SIGILL && is_enclu(at, &gone)) return BACK_ENCLU;
  if (vector == 14) {
    exception_set(t, 14, page_fault_code(fact->address, fact->error), fact->address);
    return BACK_FAULT;
  }
  if (vector >= 11 && vector <= 13 && illegal_instruction(at, &gone)) vector = 6;
  if (gone) return fetch_again(t, at, gone);
  exception_set(t, vector, 0, 0);
  return BACK_FAULT;
}
