// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page faults of enclaves on their process' own memory. The runner walks the page tables and finds a page absent, or not
 * dirty for a write: the kernel brings it as it would for the process.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "nsgx.h"

int nsgx_outside_fault(unsigned long address, u32 *error_code)
{
	struct mm_struct *mm = current->mm;
	unsigned int flags = FAULT_FLAG_USER | (*error_code & NSGX_PF_WRITE ? FAULT_FLAG_WRITE : 0);
	const struct vm_area_struct *area;
	bool unlocked = false;
	int error;

	/* Enclaves execute nothing outside of their range (SDM, "Enclave Code Execution"). */
	if (address >= TASK_SIZE_MAX || *error_code & NSGX_PF_EXEC)
		return -EFAULT;
	mmap_read_lock(mm);
	error = fixup_user_fault(mm, address & PAGE_MASK, flags, &unlocked);
	if (error) {
		/* Nothing there, or something that does not allow it. */
		area = find_vma(mm, address);
		if (area && area->vm_start <= address)
			*error_code |= NSGX_PF_PRESENT;
		else
			*error_code &= ~NSGX_PF_PRESENT;
	}
	mmap_read_unlock(mm);
	return fatal_signal_pending(current) ? -EINTR : error;
}
