// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page faults of enclaves on their process' own memory. The runner walks the page tables and finds a page absent, or not
 * dirty for a write: the kernel brings it as it would for the process.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/userfaultfd_k.h>

#include "nsgx.h"

/* Most pages that one fault of a scan brings. */
#define AHEAD_MOST 16u

/* A thread that writes page after page gets more of them with every fault: each costs an exit of the enclave. */
static void bring_ahead(struct nsgx_gate_state *thread, unsigned long address, unsigned long end)
{
	unsigned long page = address & PAGE_MASK;
	struct page *pages[AHEAD_MOST];
	long got = 0;
	u32 ahead = thread->scan_next == page ? min(2 * thread->scan_ahead + 1, AHEAD_MOST) : 0;

	ahead = min_t(unsigned long, ahead, (end - page) / PAGE_SIZE - 1);
	if (ahead)
		got = get_user_pages_unlocked(page + PAGE_SIZE, ahead, pages, FOLL_WRITE);
	for (long i = 0; i < got; i++)
		put_page(pages[i]);
	thread->scan_ahead = ahead;
	thread->scan_next = page + (max(got, 0l) + 1) * PAGE_SIZE;
}

int nsgx_outside_fault(struct nsgx_gate_state *thread, unsigned long address, u32 *error_code)
{
	struct mm_struct *mm = current->mm;
	unsigned int flags = FAULT_FLAG_USER | (*error_code & NSGX_PF_WRITE ? FAULT_FLAG_WRITE : 0);
	struct vm_area_struct *area;
	unsigned long end = 0;
	bool unlocked = false;
	int error;

	/* Enclaves execute nothing outside of their range (SDM, "Enclave Code Execution"). */
	if (address >= TASK_SIZE_MAX || *error_code & NSGX_PF_EXEC)
		return -EFAULT;
	mmap_read_lock(mm);
	error = fixup_user_fault(mm, address & PAGE_MASK, flags, &unlocked);
	area = find_vma(mm, address);
	if (!error && area && area->vm_start <= address && (*error_code & NSGX_PF_WRITE) &&
	    vma_is_anonymous(area) && !userfaultfd_armed(area))
		end = area->vm_end;
	if (error) {
		/* Nothing there, or something that does not allow it. */
		if (area && area->vm_start <= address)
			*error_code |= NSGX_PF_PRESENT;
		else
			*error_code &= ~NSGX_PF_PRESENT;
	}
	mmap_read_unlock(mm);
	if (end)
		bring_ahead(thread, address, end);
	return fatal_signal_pending(current) ? -EINTR : error;
}
