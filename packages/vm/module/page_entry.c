// SPDX-License-Identifier: GPL-2.0-only
/* The pages of an enclave by their place in the ELRANGE. */
#include "driver.h"

#define FRAME_SHIFT 16

bool page_find(struct sgx_file *f, unsigned long page, struct page_entry *out)
{
	void *entry = xa_load(&f->pages, page);
	unsigned long value;

	if (!entry)
		return false;
	value = xa_to_value(entry);
	*out = (struct page_entry){
		.frame = value >> FRAME_SHIFT,
		.type = value & 0xf,
		.most = value >> 4 & 7,
		.pte = value >> 8 & 7,
		.evicted = value >> 12 & 1,
	};
	return true;
}

int page_store(struct sgx_file *f, unsigned long page, struct page_entry entry)
{
	unsigned long value = (unsigned long)entry.frame << FRAME_SHIFT | entry.type | entry.most << 4 | entry.pte << 8 |
			      (unsigned long)entry.evicted << 12;

	return xa_err(xa_store(&f->pages, page, xa_mk_value(value), GFP_KERNEL));
}
