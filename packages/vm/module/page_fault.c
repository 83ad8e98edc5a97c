// SPDX-License-Identifier: GPL-2.0-only
/* Page faults of running enclaves inside their ELRANGE, and which gate a TCS has. */
#include <linux/sched/clock.h>

#include "reclaim.h"

/* Entries that are tried again before the process is told. */
#define ENTRY_TRIES 3
/* Faults of a thread at one page that is there, each within this time of the one before. */
#define ROW_NS (2 * NSEC_PER_MSEC)
#define UNBLOCK_AT 4
#define SAME_MOST 16

int nsgx_driver_gate(struct nsgx_enclave *e, unsigned long tcs)
{
	struct sgx_file *f = sgx_file_of(e);
	struct nsgx_result r;
	u32 known = READ_ONCE(f->tcs_count);

	if (test_and_clear_bit(NSGX_MAPPINGS_CHANGED, &e->state)) {
		mutex_lock(&f->lock);
		follow_mappings(f, e->base, e->base + e->size);
		mutex_unlock(&f->lock);
	}

	/* Slots are given in the order of EADD up to EINIT; later threads have what the monitor says. */
	for (u32 i = 0; i < known; i++)
		if (f->threads[i].address == tcs)
			return (int)i;
	if (nsgx_svsm(NSGX_ENCLAVE_STATUS, e->secs, tcs, 0, &r) || r.rax != SVSM_SUCCESS || !r.r8 || r.r8 > e->gate_count)
		return -ENOENT;
	return (int)(r.r8 - 1);
}

int add_absent(struct sgx_file *f, unsigned long page)
{
	u64 *operands;
	struct leaf_result leaf;
	struct page_entry entry = { .type = PT_REG, .most = SECINFO_RWX, .pte = SECINFO_RWX };
	int error;

	if (!epc_get(f, 1, &entry.frame))
		return -ENOMEM;
	operands = nsgx_alloc(1);
	error = operands ? 0 : -ENOMEM;
	if (!error) {
		memset(operands, 0, NSGX_PAGE);
		operands[0] = f->core.base + page * NSGX_PAGE;
		operands[3] = f->core.secs;
		error = encls(ENCLS_EAUG, nsgx_gpa(operands), epc_gpa(entry.frame), 0, &leaf);
		nsgx_free(operands, 1);
	}
	if (!error && !leaf_ok(&leaf))
		error = -EFAULT;
	if (error) {
		epc_give(entry.frame, 1);
		return error;
	}
	return page_store(f, page, entry);
}

/* What the mappings of the process allow at an address of the ELRANGE: SECINFO_RWX. */
static u32 mapped_with(unsigned long address)
{
	struct vm_area_struct *vma;
	u32 rights = 0;

	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, address);
	if (vma && vma->vm_start <= address && vma->vm_ops && vma->vm_file)
		rights = (vma->vm_flags & VM_READ ? SECINFO_R : 0) | (vma->vm_flags & VM_WRITE ? SECINFO_W : 0) |
			 (vma->vm_flags & VM_EXEC ? SECINFO_X : 0);
	mmap_read_unlock(current->mm);
	return rights;
}

static u32 wanted(u32 error_code)
{
	if (error_code & NSGX_PF_WRITE)
		return SECINFO_W;
	return error_code & NSGX_PF_EXEC ? SECINFO_X : SECINFO_R;
}

/*
 * The page is there: another thread may have brought it since, or it stayed blocked when it could not be written back.
 * False when that has been thought too often.
 */
static bool try_again(struct sgx_file *f, u32 gate, unsigned long page)
{
	struct nsgx_gate_state *state = &f->core.gate_states[gate];
	u64 now = local_clock();

	if (state->fault_page != page || now - state->fault_at > ROW_NS)
		state->faults = 0;
	state->fault_page = page;
	state->fault_at = now;
	if (++state->faults == UNBLOCK_AT && evict_pages(f, &page, 1))
		load_page(f, page);
	return state->faults < SAME_MOST;
}

int nsgx_driver_fault(struct nsgx_enclave *e, u32 gate, unsigned long address, u32 *error_code)
{
	struct sgx_file *f = sgx_file_of(e);
	unsigned long page = (address - e->base) / NSGX_PAGE;
	u32 rights = mapped_with(address), want = wanted(*error_code);
	struct page_entry entry;
	int error = -EFAULT;

	/* The process itself has nothing there, or not that much. */
	if ((rights & want) != want) {
		mutex_lock(&f->lock);
		*error_code = (*error_code & ~NSGX_PF_SGX) | (page_find(f, page, &entry) && rights ? NSGX_PF_PRESENT : 0);
		mutex_unlock(&f->lock);
		return -EFAULT;
	}
	mutex_lock(&f->lock);
	if (page_find(f, page, &entry)) {
		if (entry.evicted) {
			error = load_page(f, page);
			if (!error && rights != SECINFO_RWX)
				follow_mappings(f, address & PAGE_MASK, (address & PAGE_MASK) + NSGX_PAGE);
		} else if (entry.pte != (entry.type == PT_TCS ? SECINFO_RWX : rights)) {
			follow_mappings(f, address & PAGE_MASK, (address & PAGE_MASK) + NSGX_PAGE);
			error = 0;
		} else if (!(*error_code & NSGX_PF_SGX) && try_again(f, gate, page)) {
			error = 0;
		} else {
			/* The EPCM refuses what the page table allows. */
			*error_code |= NSGX_PF_PRESENT | NSGX_PF_SGX;
		}
	} else if (f->initialised && !f->closed) {
		error = add_absent(f, page);
	}
	mutex_unlock(&f->lock);
	return error;
}

bool nsgx_driver_entry_fault(struct nsgx_enclave *e, u32 gate, unsigned long tcs, u32 vector, u32 tries)
{
	/* Another thread may just be changing the page: the monitor admits the TCS again when it is done. */
	return vector == 14 && tries < ENTRY_TRIES && !test_bit(NSGX_ENCLAVE_LOST, &e->state);
}
