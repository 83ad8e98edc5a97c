// SPDX-License-Identifier: GPL-2.0-only
/* Writing pages back (EBLOCK, ETRACK, EWB) and loading them again (ELDU), by the monitor's calls over lists of pages. */
#include <linux/io.h>
#include <linux/mm.h>

#include "reclaim.h"

#define NOT_TRACKED 11
#define TRACKING 20
#define CONFLICTS 50

struct evict_entry {
	u64 frame, version, page, pcmd;
};

struct load_entry {
	u64 frame, version, page, pcmd, address;
};

/* One call over a list. Returns how many entries were done; *code says what stopped it: 0 nothing, -1 no SGX code. */
static u32 call_list(u32 call, u64 secs, const void *list, u32 count, int *code)
{
	struct nsgx_result r;

	*code = -1;
	if (nsgx_svsm(call, secs, nsgx_gpa(list), count, &r))
		return 0;
	if (r.rax == SVSM_SUCCESS)
		*code = (int)(u32)r.rcx;
	else if (r.rax == SVSM_INCOMPLETE)
		*code = 0;
	else if (r.rax < SVSM_FAULT || r.rax >= SVSM_FAULT + 32)
		return 0;
	return min_t(u64, r.rdx, count);
}

static void written(struct sgx_file *f, unsigned long page, struct backing *b)
{
	struct page_entry entry;

	page_find(f, page, &entry);
	epc_give(entry.frame, 1);
	entry.frame = b->slot;
	entry.evicted = true;
	page_store(f, page, entry);
}

u32 evict_pages(struct sgx_file *f, const unsigned long *pages, u32 count)
{
	struct evict_entry *list = nsgx_alloc(1);
	struct backing *backings[EVICT_MOST];
	u32 at = 0, freed = 0, tracking = 0, have;

	if (!list)
		return 0;
	for (have = 0; have < min(count, EVICT_MOST); have++) {
		struct page_entry entry;
		struct backing *b = backing_take(f);

		if (!b)
			break;
		page_find(f, pages[have], &entry);
		list[have] = (struct evict_entry){ epc_gpa(entry.frame), b->version, page_to_phys(b->page), virt_to_phys(b->pcmd) };
		backings[have] = b;
	}
	while (at < have) {
		int code;
		u32 done = call_list(NSGX_EVICT, f->core.secs, list + at, have - at, &code);

		for (; done; done--, at++, freed++)
			written(f, pages[at], backings[at]);
		if (at == have || (!code && done))
			continue;
		if (code == NOT_TRACKED && tracking++ < TRACKING) {
			nsgx_kick_out(&f->core);
			continue;
		}
		if (!code && tracking++ < TRACKING)
			continue;
		/* This page cannot go now; the others may. */
		backing_give(f, backings[at++]);
	}
	nsgx_free(list, 1);
	return freed;
}

int load_page(struct sgx_file *f, unsigned long page)
{
	struct load_entry *entry_list;
	struct page_entry entry;
	struct backing *b;
	u32 frame, done = 0;
	int code = 0;

	if (!page_find(f, page, &entry) || !entry.evicted)
		return 0;
	b = backing_find(entry.frame);
	if (!b)
		return -EFAULT;
	if (!epc_get(f, 1, &frame))
		return -ENOMEM;
	entry_list = nsgx_alloc(1);
	if (!entry_list) {
		epc_give(frame, 1);
		return -ENOMEM;
	}
	*entry_list = (struct load_entry){ epc_gpa(frame), b->version, page_to_phys(b->page), virt_to_phys(b->pcmd),
					   f->core.base + page * NSGX_PAGE };
	for (u32 tries = 0; tries < CONFLICTS && !done; tries++) {
		done = call_list(NSGX_LOAD, f->core.secs, entry_list, 1, &code);
		if (!done && code && code != SGX_CONFLICT)
			break;
	}
	nsgx_free(entry_list, 1);
	if (!done) {
		/* What lies there is not what was written: the enclave cannot go on without the page. */
		epc_give(frame, 1);
		nsgx_enclave_stop(&f->core);
		return -EFAULT;
	}
	entry.frame = frame;
	entry.evicted = false;
	entry.pte = SECINFO_RWX;
	backing_give(f, b);
	return page_store(f, page, entry);
}
