/* SPDX-License-Identifier: GPL-2.0-only */
/* Between reclaim.c, evict.c and backing.c. */
#ifndef NSGX_RECLAIM_H
#define NSGX_RECLAIM_H

#include "driver.h"

#define VA_SLOTS 512

struct backing {
	u32 slot;
	struct page *page;
	void *pcmd;
	u64 version; /* gPA of the slot in a VA page */
};

/* NULL without memory, or without an EPC page for versions. With the file's lock held, as all below. */
struct backing *backing_take(struct sgx_file *f);
struct backing *backing_find(u32 slot);
void backing_give(struct sgx_file *f, struct backing *b);

#define EVICT_MOST 32u
/* Writes pages that are in the EPC back; returns how many were. */
u32 evict_pages(struct sgx_file *f, const unsigned long *pages, u32 count);

#endif
