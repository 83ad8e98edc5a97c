// SPDX-License-Identifier: GPL-2.0-only
/* Where pages of enclaves lie that are not in the EPC: encrypted in ordinary memory, with a version in a VA page. */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "driver.h"
#include "reclaim.h"

#define ENCLS_EPA 0xa
#define PT_VA 3
#define PCMD_BYTES 128 /* and its alignment, which kmalloc gives to powers of two */

static DEFINE_XARRAY_ALLOC(slots);

struct va_page {
	struct list_head link;
	u32 frame;
	u32 free;
	DECLARE_BITMAP(used, VA_SLOTS);
};

/* An empty version array with a free slot. */
static struct va_page *make_va_page(struct sgx_file *f)
{
	struct va_page *va = kzalloc(sizeof(*va), GFP_KERNEL);
	struct leaf_result leaf;

	if (!va)
		return NULL;
	if (!epc_take_reserved(&va->frame)) {
		kfree(va);
		return NULL;
	}
	if (encls(ENCLS_EPA, PT_VA, epc_gpa(va->frame), 0, &leaf) || !leaf_ok(&leaf)) {
		epc_give(va->frame, 1);
		kfree(va);
		return NULL;
	}
	va->free = VA_SLOTS;
	list_add(&va->link, &f->versions);
	return va;
}

static bool take_version(struct sgx_file *f, u64 *gpa)
{
	struct va_page *va, *with = NULL;
	unsigned long at;

	list_for_each_entry(va, &f->versions, link)
		if (va->free) {
			with = va;
			break;
		}
	if (!with)
		with = make_va_page(f);
	if (!with)
		return false;
	at = find_first_zero_bit(with->used, VA_SLOTS);
	__set_bit(at, with->used);
	with->free--;
	*gpa = epc_gpa(with->frame) + at * 8;
	return true;
}

static void give_version(struct sgx_file *f, u64 gpa)
{
	struct va_page *va;

	list_for_each_entry(va, &f->versions, link)
		if (epc_gpa(va->frame) == (gpa & PAGE_MASK)) {
			__clear_bit((gpa & ~PAGE_MASK) / 8, va->used);
			va->free++;
			return;
		}
}

struct backing *backing_take(struct sgx_file *f)
{
	struct backing *b = kzalloc(sizeof(*b), GFP_KERNEL);

	if (!b)
		return NULL;
	b->page = alloc_page(GFP_KERNEL | __GFP_NOWARN);
	b->pcmd = kmalloc(PCMD_BYTES, GFP_KERNEL);
	if (b->page && b->pcmd && take_version(f, &b->version)) {
		if (!xa_alloc(&slots, &b->slot, b, xa_limit_31b, GFP_KERNEL))
			return b;
		give_version(f, b->version);
	}
	if (b->page)
		__free_page(b->page);
	kfree(b->pcmd);
	kfree(b);
	return NULL;
}

struct backing *backing_find(u32 slot)
{
	return xa_load(&slots, slot);
}

void backing_give(struct sgx_file *f, struct backing *b)
{
	give_version(f, b->version);
	xa_erase(&slots, b->slot);
	__free_page(b->page);
	kfree(b->pcmd);
	kfree(b);
}

void evicted_give(struct sgx_file *f, u32 slot)
{
	struct backing *b = backing_find(slot);

	if (b)
		backing_give(f, b);
}

void versions_free(struct sgx_file *f)
{
	struct va_page *va, *next;

	list_for_each_entry_safe(va, next, &f->versions, link) {
		if (remove_frames(f, va->frame, 1))
			epc_give(va->frame, 1);
		list_del(&va->link);
		kfree(va);
	}
}
