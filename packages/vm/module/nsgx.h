/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the guest module share. The core (window, calls, gates, ENCLU, revocation) is below "core"; what the
 * driver of /dev/sgx_enclave gives to the core is below "driver".
 */
#ifndef NSGX_H
#define NSGX_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include "layout.h"

#define NSGX_PAGE 4096ul

/* SVSM results (AMD 58019, "Secure VM Service Module") and the calls of protocol 0x4E53; below 0x100: ENCLS leaves. */
#define SVSM_SUCCESS 0ull
#define SVSM_INCOMPLETE 0x80000000ull
#define SVSM_INVALID_ADDRESS 0x80000003ull
#define SVSM_INVALID_PARAMETER 0x80000005ull
#define SVSM_INVALID_REQUEST 0x80000006ull
#define SVSM_BUSY 0x80000007ull
/* A leaf that faulted: this + vector; RCX = error code, RDX = address. */
#define SVSM_FAULT 0x80001000ull

enum nsgx_call {
	NSGX_QUERY = 0x100,
	NSGX_ADD_RANGE = 0x101,
	NSGX_BIND_GATES = 0x102,
	NSGX_QUOTE = 0x103,
	NSGX_QE_TARGETINFO = 0x104,
	NSGX_KICK = 0x105,
	NSGX_ENCLAVE_STATUS = 0x106,
	NSGX_AUTHORIZE_PROVISION = 0x107,
	NSGX_REMOVE_RANGE = 0x108,
	NSGX_SET_PTE = 0x109,
	NSGX_EVICT = 0x10a,
	NSGX_LOAD = 0x10b,
	NSGX_AUG_RANGE = 0x10c,
	NSGX_STOP = 0x10d,
};

/* ---- core: window.c ---- */

/* The window as the guest sees it; info is a copy, taken once and checked. */
struct nsgx_window {
	void *base; /* address of info.window_gpa */
	struct vm_info info;
	struct relay *relay;
};
extern struct nsgx_window nsgx_window;

int nsgx_window_open(unsigned long gpa);
void nsgx_window_close(void);

/*
 * Whole pages of the slice, page aligned, not zeroed; the machine reads and writes them by their guest-physical address.
 * NULL when none is left. May sleep.
 */
void *nsgx_alloc(unsigned long pages);
void nsgx_free(void *address, unsigned long pages);
u64 nsgx_gpa(const void *address);

/* ---- core: svsm.c ---- */

struct nsgx_result {
	u64 rax, rcx, rdx, r8;
};

/*
 * One call of protocol 0x4E53; sleeps until it is answered, tries again while the monitor is busy (about 2 s). 0 when it
 * was answered (look at out->rax), -EIO when the machine is gone or does not answer. Not from atomic context.
 */
int nsgx_svsm4(u32 call, u64 rcx, u64 rdx, u64 r8, u64 r9, struct nsgx_result *out);
static inline int nsgx_svsm(u32 call, u64 rcx, u64 rdx, u64 r8, struct nsgx_result *out)
{
	return nsgx_svsm4(call, rcx, rdx, r8, 0, out);
}

int nsgx_svsm_open(void);
void nsgx_svsm_close(void);

/* ---- core: doorbell.c ---- */

/* A word that the other side changes when it answers, and how it is told that somebody sleeps. */
struct nsgx_answer {
	u32 *word;
	u32 wanted;
	u32 *asleep;   /* 1 while the guest sleeps */
	u32 *progress; /* PROGRESS_LOST ends the wait; may be NULL */
};
#define NSGX_WAIT_INTERRUPTIBLE 1
#define NSGX_WAIT_ATOMIC 2 /* only spin */

/* 0 answered, -EINTR a signal is pending, -ETIMEDOUT, -EIO progress says LOST */
int nsgx_await(const struct nsgx_answer *a, unsigned int flags, u64 limit_ns);
/* How long an answer is waited for before sleeping, in TSC cycles: runners need not hurry for less. */
u32 nsgx_spin_cycles(void);
/* Wakes whoever outside sleeps on the first word of this page of the window. */
void nsgx_kick_page(const void *page);

int nsgx_doorbell_open(void);
void nsgx_doorbell_close(void);

/* ---- core: enclave object (embed it first in the driver's own) ---- */

struct nsgx_mm;

struct nsgx_gate_state {
	u32 seq;  /* last request */
	u32 busy; /* a task is inside, or about to enter */
	/* A scan of fresh memory outside: where it goes on, and how many pages it is given at once. */
	unsigned long scan_next;
	u32 scan_ahead;
	/* For the driver: faults in a row at a page that is there. */
	unsigned long fault_page;
	u64 fault_at;
	u32 faults;
};

#define NSGX_ENCLAVE_RUNNABLE 0 /* threads may enter: set by the driver after EINIT */
#define NSGX_ENCLAVE_LOST 1	/* stopped, or its address space has ended: nobody enters any more */
#define NSGX_ENCLAVE_STAYS 2	/* set by the driver when the SECS could not be removed: its gates stay taken */

struct nsgx_enclave {
	struct kref ref;
	struct list_head link; /* of mm->enclaves */
	struct nsgx_mm *owner;
	bool linked; /* its address space is there */
	unsigned long base, size;
	unsigned long beside; /* room of trampolines in the process, or 0 */
	u64 secs; /* gPA of the SECS: the enclave's name in calls */
	unsigned long state;
	/* Gate pages; the revocation page lies behind the last one. */
	struct gate *gates;
	struct nsgx_gate_state *gate_states;
	u32 gate_count;
	struct revoke *revoke;
	struct mutex revoke_lock;
};

static inline bool nsgx_contains(const struct nsgx_enclave *e, unsigned long address)
{
	return address - e->base < e->size;
}

void nsgx_enclave_init(struct nsgx_enclave *e);
/*
 * After ECREATE, with base and size set, in the process that owns the enclave: makes current->mm its address space and
 * takes the ranges that runners need out of it. Takes mmap_lock for writing. -EBUSY when the process has something there.
 */
int nsgx_enclave_attach(struct nsgx_enclave *e);
/*
 * Takes the enclave out of its address space: nobody enters, and threads inside are made to leave, if need be by STOP.
 * Returns after they have. Idempotent; to be called before the enclave's pages go.
 */
void nsgx_enclave_detach(struct nsgx_enclave *e);
/* Allocates `count` gates and tells the monitor (BIND_GATES), with R9 = BESIDE_* flags. Before EINIT, secs set. */
int nsgx_gates_bind(struct nsgx_enclave *e, u32 count, u64 beside);
/*
 * Reserves the room beside the ELRANGE of current->mm that trampolines take, below if it is free, else above. Returns
 * BESIDE_* flags.
 */
u64 nsgx_reserve_beside(struct nsgx_enclave *e);

static inline void nsgx_enclave_get(struct nsgx_enclave *e)
{
	kref_get(&e->ref);
}
/* The last one frees gates and then calls nsgx_driver_free. May sleep. */
void nsgx_enclave_put(struct nsgx_enclave *e);
/* The enclave of the current process around an address, with a reference; NULL for none. */
struct nsgx_enclave *nsgx_enclave_find(unsigned long address);
bool nsgx_mm_known(const struct mm_struct *mm);
/* True when this mm owns the enclave; what its address space is (NULL after it has ended). */
struct mm_struct *nsgx_enclave_mm(const struct nsgx_enclave *e);

/* ---- core: gate.c ---- */

static inline bool nsgx_gate_inside(const struct nsgx_enclave *e, u32 gate)
{
	return READ_ONCE(e->gates[gate].request_seq) != READ_ONCE(e->gates[gate].response_seq);
}
/*
 * Makes every thread leave that is inside now (KICK) and waits until it has; they come back by themselves. False when one
 * is still inside after 250 ms. For ETRACK cycles and reclaiming.
 */
bool nsgx_kick_out(struct nsgx_enclave *e);
/* STOP: no thread of the enclave executes any more. */
void nsgx_enclave_stop(struct nsgx_enclave *e);

/* How an entry ended: EXIT_KIND_*; for AEX and ENTRY_FAILED with what the runner says. */
struct nsgx_exit {
	u32 kind;
	u32 vector;
	u32 error_code;
	u64 address;
};
/* EENTER or ERESUME with the registers in `regs`; the caller owns the gate (busy). On EEXIT regs are the enclave's. */
void nsgx_gate_enter(struct nsgx_enclave *e, u32 gate, u32 function, struct pt_regs *regs, struct nsgx_exit *out);

/* ---- core: enclu.c, exception.c, fault.c, notifier.c ---- */

int nsgx_enclu_open(void);
void nsgx_enclu_close(void);
/* An exception of `regs`, which are at the ENCLU or the AEP: the vDSO's fixup, or a signal. */
void nsgx_deliver(struct pt_regs *regs, u32 vector, u32 error_code, unsigned long address);
/* A page fault of the enclave outside of its ELRANGE: 0 when the access may be tried again, else *error_code says why. */
int nsgx_outside_fault(struct nsgx_gate_state *thread, unsigned long address, u32 *error_code);
void nsgx_notifier_drain(void);

/* Error code bits of page faults. */
#define NSGX_PF_PRESENT 1u
#define NSGX_PF_WRITE 2u
#define NSGX_PF_USER 4u
#define NSGX_PF_EXEC 16u
#define NSGX_PF_SGX 0x8000u

/* ---- driver: all run in process context and may sleep ---- */

/* Registers the devices. Called last at load, and first at unload. */
int nsgx_driver_open(void);
void nsgx_driver_close(void);
/* The gate of a TCS (linear address, page aligned, in the ELRANGE): -ENOENT when it has none. */
int nsgx_driver_gate(struct nsgx_enclave *e, unsigned long tcs);
/*
 * A page fault inside the ELRANGE by the thread behind `gate`: 0 when the access may be tried again (page loaded or
 * added). -EFAULT: the access is not allowed; *error_code is then what the process is told (with NSGX_PF_SGX if the EPCM
 * refuses it, without if the VMA does).
 */
int nsgx_driver_fault(struct nsgx_enclave *e, u32 gate, unsigned long address, u32 *error_code);
/* EENTER/ERESUME refused with a vector; `tries` counts refusals of this entry before. True: try again. */
bool nsgx_driver_entry_fault(struct nsgx_enclave *e, u32 gate, unsigned long tcs, u32 vector, u32 tries);
/* The address space of the enclave ends (exit or exec): nobody is inside. The file may stay open elsewhere. */
void nsgx_driver_mm_gone(struct nsgx_enclave *e);
/* Frees the object; after the last reference. */
void nsgx_driver_free(struct nsgx_enclave *e);

#endif
