// SPDX-License-Identifier: GPL-2.0-only
/* What ptrace and /proc/PID/mem see of debug enclaves: words by EDBGRD and EDBGWR. */
#include <linux/delay.h>

#include "driver.h"

#define WORD 8u
#define LOCK_MS 250

/* The caller holds an mmap_lock, and the file's lock comes before it: whoever has that may be waiting for this. */
static int lock_briefly(struct sgx_file *f)
{
	for (u32 i = 0; i < LOCK_MS; i++) {
		if (mutex_trylock(&f->lock))
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		usleep_range(1000, 1100);
	}
	return -EBUSY;
}

static int access_word(u64 gpa, u32 at, void *data, u32 count, bool write)
{
	struct leaf_result leaf;
	u64 word;
	int error = encls(ENCLS_EDBGRD, 0, gpa, 0, &leaf);

	if (error || !leaf_ok(&leaf))
		return -EIO;
	word = leaf.rdx;
	if (!write) {
		memcpy(data, (u8 *)&word + at, count);
		return 0;
	}
	memcpy((u8 *)&word + at, data, count);
	error = encls(ENCLS_EDBGWR, word, gpa, 0, &leaf);
	return error || !leaf_ok(&leaf) ? -EIO : 0;
}

static int access_page(struct sgx_file *f, unsigned long address, void *data, u32 count, bool write)
{
	unsigned long page = (address - f->core.base) / NSGX_PAGE;
	struct page_entry entry;
	int error = 0;

	if (!page_find(f, page, &entry))
		return -EFAULT;
	if (entry.evicted) {
		error = load_page(f, page);
		if (error)
			return error;
		set_bit(NSGX_MAPPINGS_CHANGED, &f->core.state);
		page_find(f, page, &entry);
	}
	for (u32 done = 0; done < count && !error;) {
		u32 offset = offset_in_page(address + done), at = offset % WORD, step = min(WORD - at, count - done);

		error = access_word(epc_gpa(entry.frame) + offset - at, at, data + done, step, write);
		done += step;
	}
	return error;
}

int sgx_vma_access(struct vm_area_struct *vma, unsigned long address, void *data, int length, int write)
{
	struct sgx_file *f = vma->vm_private_data;
	int done = 0, error = lock_briefly(f);

	if (error)
		return error;
	if (!f->created || f->closed || !(f->attributes & ATTRIBUTE_DEBUG))
		error = -EFAULT;
	while (done < length && !error) {
		u32 step = min_t(u32, length - done, NSGX_PAGE - offset_in_page(address + done));

		error = nsgx_contains(&f->core, address + done) ? access_page(f, address + done, data + done, step, write) : -EFAULT;
		if (!error)
			done += step;
	}
	mutex_unlock(&f->lock);
	return done ? done : error;
}
