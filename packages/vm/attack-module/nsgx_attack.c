// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a hostile kernel can do to enclaves of its processes and no program can: reach any physical address, and change the
 * page tables of a process behind everybody's back. Does one thing when it is loaded, and says what it saw.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <asm/tlbflush.h>

#include "layout.h"

#define WINDOW 0x8000000ul
#define NOISE 0x4141414141414141ul
#define FRAMES 64u
#define ROUNDS 200u

static char *what = "physical";
module_param(what, charp, 0444);
static int pid;
module_param(pid, int, 0444);
static unsigned long address;
module_param(address, ulong, 0444);
static unsigned long secret;
module_param(secret, ulong, 0444);

/* EPC where the machine says that it is: reads, and writes over it. */
static void physical(void)
{
	struct vm_info *info = memremap(WINDOW, PAGE_SIZE, MEMREMAP_WB);
	unsigned int seen = 0, content = 0, kept = 0, absent = 0;
	u64 epc;

	if (!info)
		return;
	epc = info->epc_gpa;
	memunmap(info);
	for (unsigned int i = 0; i < FRAMES; i++) {
		u64 __iomem *page = ioremap(epc + i * PAGE_SIZE, PAGE_SIZE);

		if (!page) {
			absent++;
			continue;
		}
		for (unsigned int word = 0; word < PAGE_SIZE / 8; word++) {
			u64 value = readq(page + word);

			seen += value == secret;
			content += value && value != ~0ull;
			writeq(NOISE, page + word);
			kept += readq(page + word) == NOISE;
		}
		iounmap(page);
	}
	pr_info("physical: %u pages, %u not mapped, %u words with content, secret %u times, %u writes kept\n", FRAMES, absent,
		content, seen, kept);
}

static pte_t *entry_of(struct mm_struct *mm, unsigned long at)
{
	pgd_t *pgd = pgd_offset(mm, at);
	p4d_t *p4d = pgd_none(*pgd) ? NULL : p4d_offset(pgd, at);
	pud_t *pud = !p4d || p4d_none(*p4d) ? NULL : pud_offset(p4d, at);
	pmd_t *pmd = !pud || pud_none(*pud) ? NULL : pmd_offset(pud, at);

	return !pmd || pmd_none(*pmd) || pmd_large(*pmd) ? NULL : pte_offset_kernel(pmd, at);
}

/* Another page under a process, back and forth, without telling anybody. */
static void tables(void)
{
	struct task_struct *task = get_pid_task(find_vpid(pid), PIDTYPE_PID);
	struct mm_struct *mm = task ? get_task_mm(task) : NULL;
	struct page *noise = alloc_page(GFP_KERNEL);
	unsigned int changed = 0;
	pte_t *entry, before;

	if (!mm || !noise)
		goto out;
	memset(page_address(noise), 0x41, PAGE_SIZE);
	mmap_read_lock(mm);
	entry = entry_of(mm, address);
	for (unsigned int i = 0; entry && pte_present(*entry) && i < ROUNDS; i++, changed++) {
		before = *entry;
		WRITE_ONCE(*entry, __pte(page_to_phys(noise) | _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY));
		usleep_range(500, 1000);
		WRITE_ONCE(*entry, before);
		usleep_range(500, 1000);
	}
	mmap_read_unlock(mm);
	pr_info("tables: the entry of 0x%lx changed %u times\n", address, changed);
out:
	if (mm)
		mmput(mm);
	if (task)
		put_task_struct(task);
	if (noise)
		__free_page(noise);
}

static int __init attack(void)
{
	if (!strcmp(what, "physical"))
		physical();
	else if (!strcmp(what, "tables"))
		tables();
	/* Nothing stays. */
	return -ECANCELED;
}
module_init(attack);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("attacks of a hostile kernel");
