// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finding EPC pages when none is free: pages of enclaves are written back, in the order in which they lie, one enclave
 * after the other. Those without which a thread cannot enter stay.
 */
#include "reclaim.h"

#define ROUNDS 8

static LIST_HEAD(files);
static DEFINE_MUTEX(files_lock);

void reclaim_add(struct sgx_file *f)
{
	mutex_lock(&files_lock);
	list_add_tail(&f->files, &files);
	mutex_unlock(&files_lock);
}

void reclaim_remove(struct sgx_file *f)
{
	mutex_lock(&files_lock);
	list_del_init(&f->files);
	mutex_unlock(&files_lock);
}

static bool needed_for_entry(const struct sgx_file *f, unsigned long page)
{
	for (u32 i = 0; i < f->tcs_count; i++) {
		const struct sgx_thread *t = &f->threads[i];
		u64 first = t->ossa / NSGX_PAGE;

		if (page >= first && page < first + (u64)t->nssa * max(f->ssa_pages, 1u))
			return true;
	}
	return false;
}

static u32 choose(struct sgx_file *f, unsigned long *chosen, u32 most)
{
	u32 count = 0;

	for (u32 lap = 0; lap < 2 && count < most; lap++) {
		unsigned long index = f->hand;
		void *value;

		xa_for_each_range(&f->pages, index, value, f->hand, ULONG_MAX) {
			struct page_entry entry;

			if (count == most)
				break;
			f->hand = index + 1;
			if (!page_find(f, index, &entry) || entry.evicted || entry.type == PT_TCS || needed_for_entry(f, index))
				continue;
			chosen[count++] = index;
		}
		if (count < most)
			f->hand = 0;
		if (count)
			break;
	}
	return count;
}

static u32 reclaim(struct sgx_file *self)
{
	unsigned long chosen[EVICT_MOST];
	struct sgx_file *f, *last;
	u32 freed = 0;

	mutex_lock(&files_lock);
	if (list_empty(&files))
		goto out;
	last = list_last_entry(&files, struct sgx_file, files);
	do {
		f = list_first_entry(&files, struct sgx_file, files);
		list_move_tail(&f->files, &files);
		/* A TCS made at run time says only to the enclave where its SSA is. */
		if (f->new_threads || (f != self && !mutex_trylock(&f->lock)))
			continue;
		freed = evict_pages(f, chosen, choose(f, chosen, EVICT_MOST));
		if (f != self)
			mutex_unlock(&f->lock);
	} while (!freed && f != last);
out:
	mutex_unlock(&files_lock);
	return freed;
}

u32 epc_get(struct sgx_file *self, u32 wanted, u32 *first)
{
	for (u32 round = 0;; round++) {
		u32 count = epc_take(wanted, first);

		if (count || round == ROUNDS || !reclaim(self))
			return count;
	}
}
