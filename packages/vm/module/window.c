// SPDX-License-Identifier: GPL-2.0-only
/* The window of guest RAM that machine and module share: the info page, and an allocator for the slice. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "nsgx.h"

struct nsgx_window nsgx_window;

static unsigned long *used;
static unsigned long slice_pages;
static DEFINE_MUTEX(slice_lock);

static bool inside(u64 gpa, u64 bytes)
{
	const struct vm_info *info = &nsgx_window.info;
	u64 offset = gpa - info->window_gpa;

	return gpa >= info->window_gpa && !(gpa & ~PAGE_MASK) && bytes <= info->window_bytes &&
	       offset <= info->window_bytes - bytes;
}

/* Everything is used as an address or a port later on: refuse what cannot be. */
static bool info_is_sound(u64 gpa)
{
	const struct vm_info *info = &nsgx_window.info;

	return info->signature == VM_INFO_MAGIC && info->format_version == VM_INFO_VERSION && info->window_gpa == gpa &&
	       info->window_bytes >= 16 * NSGX_PAGE && info->window_bytes <= SZ_1G && !(info->window_bytes & ~PAGE_MASK) &&
	       info->vcpus >= 1 && info->vcpus <= 256 && info->vcpu_stride >= 2 * NSGX_PAGE &&
	       info->vcpu_stride <= SZ_1M && inside(info->doorbell_gpa, NSGX_PAGE) &&
	       inside(info->relay_gpa, NSGX_PAGE) && inside(info->vcpu_gpa, info->vcpus * info->vcpu_stride) &&
	       info->slice_bytes >= NSGX_PAGE && inside(info->slice_gpa, info->slice_bytes) &&
	       info->kick_port <= 0xffff && info->irq_port <= 0xfff8 && info->irq < 256 &&
	       info->reserved <= ARRAY_SIZE(info->reserved_ranges) / 2;
}

int nsgx_window_open(unsigned long gpa)
{
	struct vm_info *info = &nsgx_window.info;
	void *page;

	if (!IS_ALIGNED(gpa, NSGX_PAGE))
		return -EINVAL;
	page = memremap(gpa, NSGX_PAGE, MEMREMAP_WB);
	if (!page)
		return -ENODEV;
	memcpy(info, page, sizeof(*info));
	memunmap(page);
	if (!info_is_sound(gpa)) {
		pr_err("no machine has described itself at 0x%lx\n", gpa);
		return -ENODEV;
	}
	nsgx_window.base = memremap(gpa, info->window_bytes, MEMREMAP_WB);
	if (!nsgx_window.base)
		return -ENOMEM;
	nsgx_window.relay = nsgx_window.base + (info->relay_gpa - gpa);
	slice_pages = info->slice_bytes / NSGX_PAGE;
	used = bitmap_zalloc(slice_pages, GFP_KERNEL);
	if (!used) {
		memunmap(nsgx_window.base);
		return -ENOMEM;
	}
	return 0;
}

void nsgx_window_close(void)
{
	bitmap_free(used);
	memunmap(nsgx_window.base);
}

static void *slice(void)
{
	return nsgx_window.base + (nsgx_window.info.slice_gpa - nsgx_window.info.window_gpa);
}

void *nsgx_alloc(unsigned long pages)
{
	unsigned long at;

	if (!pages || pages > slice_pages)
		return NULL;
	mutex_lock(&slice_lock);
	at = bitmap_find_next_zero_area(used, slice_pages, 0, pages, 0);
	if (at < slice_pages)
		bitmap_set(used, at, pages);
	mutex_unlock(&slice_lock);
	return at < slice_pages ? slice() + at * NSGX_PAGE : NULL;
}

void nsgx_free(void *address, unsigned long pages)
{
	unsigned long at = (address - slice()) / NSGX_PAGE;

	if (!address || WARN_ON_ONCE(at >= slice_pages || pages > slice_pages - at))
		return;
	mutex_lock(&slice_lock);
	bitmap_clear(used, at, pages);
	mutex_unlock(&slice_lock);
}

u64 nsgx_gpa(const void *address)
{
	return nsgx_window.info.window_gpa + (address - nsgx_window.base);
}
