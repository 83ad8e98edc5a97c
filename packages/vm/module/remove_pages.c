// SPDX-License-Identifier: GPL-2.0-only
/* SGX_IOC_ENCLAVE_REMOVE_PAGES: EREMOVE of trimmed pages that the enclave has accepted; and the end of an enclave. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "driver.h"

#define VECTOR_PF 14

/* EMODPR of a trimmed page changes nothing: it faults once the enclave has accepted the new type. */
static bool accepted(u32 frame)
{
	u64 *secinfo = nsgx_alloc(1);
	struct leaf_result leaf;
	int error;

	if (!secinfo)
		return false;
	memset(secinfo, 0, 64);
	secinfo[0] = SECINFO_RWX;
	error = encls(ENCLS_EMODPR, nsgx_gpa(secinfo), epc_gpa(frame), 0, &leaf);
	nsgx_free(secinfo, 1);
	return !error && leaf.vector == VECTOR_PF;
}

static int remove_page(struct sgx_file *f, unsigned long page)
{
	struct page_entry entry;

	if (load_page(f, page) || !page_find(f, page, &entry))
		return -EFAULT;
	if (entry.type != PT_TRIM || !accepted(entry.frame) || !remove_frames(f, entry.frame, 1))
		return -EPERM;
	xa_erase(&f->pages, page);
	epc_give(entry.frame, 1);
	return 0;
}

int ioctl_remove_pages(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_remove_pages arg;
	u64 done = 0;
	int error;

	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	if (!f->initialised || f->closed)
		return -EINVAL;
	error = check_range(f, arg.offset, arg.length);
	if (error || arg.count)
		return error ? error : -EINVAL;
	for (; done < arg.length && !error; done += error ? 0 : NSGX_PAGE) {
		if (signal_pending(current))
			error = done ? -EINTR : -ERESTARTSYS;
		else
			error = remove_page(f, (arg.offset + done) / NSGX_PAGE);
		cond_resched();
	}
	arg.count = done;
	return copy_to_user(argument, &arg, sizeof(arg)) ? -EFAULT : error;
}

/* Takes every page and the SECS away. Frames that the monitor does not give back stay taken. */
void take_down(struct sgx_file *f)
{
	u32 first = 0, count = 0;
	unsigned long index;
	void *value;

	if (!f->created)
		return;
	reclaim_remove(f);
	xa_for_each(&f->pages, index, value) {
		struct page_entry entry;

		page_find(f, index, &entry);
		if (entry.evicted) {
			evicted_give(f, entry.frame);
			continue;
		}
		if (count && entry.frame == first + count) {
			count++;
			continue;
		}
		if (count && remove_frames(f, first, count))
			epc_give(first, count);
		first = entry.frame;
		count = 1;
	}
	if (count && remove_frames(f, first, count))
		epc_give(first, count);
	xa_destroy(&f->pages);
	versions_free(f);
	first = (u32)((f->core.secs - nsgx_window.info.epc_gpa) / NSGX_PAGE);
	if (remove_frames(f, first, 1))
		epc_give(first, 1);
	else
		set_bit(NSGX_ENCLAVE_STAYS, &f->core.state);
	f->created = false;
}
