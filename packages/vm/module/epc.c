// SPDX-License-Identifier: GPL-2.0-only
/* Which EPC pages of this guest are in use. The monitor knows better; this is how the driver finds free ones. */
#include <linux/bitmap.h>
#include <linux/vmalloc.h>

#include "driver.h"

static unsigned long *used;
static u32 total, next;
static DEFINE_SPINLOCK(lock);

int epc_open(void)
{
	u64 pages = nsgx_window.info.epc_pages;

	if (!pages || pages > U32_MAX / 2)
		return -ENODEV;
	total = (u32)pages;
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

u32 epc_take(u32 wanted, u32 *first)
{
	u32 count;

	spin_lock(&lock);
	count = run_at(next, total, wanted, first);
	if (!count)
		count = run_at(0, total, wanted, first);
	if (count) {
		bitmap_set(used, *first, count);
		next = *first + count;
	}
	spin_unlock(&lock);
	return count;
}

void epc_give(u32 first, u32 count)
{
	spin_lock(&lock);
	bitmap_clear(used, first, count);
	spin_unlock(&lock);
}

u64 epc_gpa(u32 frame)
{
	return nsgx_window.info.epc_gpa + (u64)frame * NSGX_PAGE;
}
