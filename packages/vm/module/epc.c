// SPDX-License-Identifier: GPL-2.0-only
/* Which EPC pages of this guest are in use. The monitor knows better; this is how the driver finds free ones. */
#include <linux/bitmap.h>
#include <linux/vmalloc.h>

#include "driver.h"

static unsigned long *used;
/* Pages that only version arrays may take: without one nothing can be written back. */
#define RESERVE 8u

static u32 total, next, free;
static DEFINE_SPINLOCK(lock);

int epc_open(void)
{
	u64 pages = nsgx_window.info.epc_pages;

	if (!pages || pages > U32_MAX / 2)
		return -ENODEV;
	total = free = (u32)pages;
	used = vzalloc(BITS_TO_LONGS(total) * sizeof(long));
	return used ? 0 : -ENOMEM;
}

void epc_close(void)
{
	vfree(used);
}

static u32 run_at(u32 from, u32 end, u32 wanted, u32 *first)
{
	unsigned long at = find_next_zero_bit(used, end, from), stop;

	if (at >= end)
		return 0;
	stop = find_next_bit(used, min_t(unsigned long, end, at + wanted), at);
	*first = (u32)at;
	return (u32)(stop - at);
}

static u32 take(u32 wanted, u32 *first)
{
	u32 count = run_at(next, total, wanted, first);

	if (!count)
		count = run_at(0, total, wanted, first);
	if (count) {
		bitmap_set(used, *first, count);
		next = *first + count;
		free -= count;
	}
	return count;
}

u32 epc_take(u32 wanted, u32 *first)
{
	u32 count = 0;

	spin_lock(&lock);
	if (free > RESERVE)
		count = take(min(wanted, free - RESERVE), first);
	spin_unlock(&lock);
	return count;
}

bool epc_take_reserved(u32 *frame)
{
	bool taken;

	spin_lock(&lock);
	taken = take(1, frame);
	spin_unlock(&lock);
	return taken;
}

void epc_give(u32 first, u32 count)
{
	spin_lock(&lock);
	bitmap_clear(used, first, count);
	free += count;
	spin_unlock(&lock);
}

u64 epc_gpa(u32 frame)
{
	return nsgx_window.info.epc_gpa + (u64)frame * NSGX_PAGE;
}
