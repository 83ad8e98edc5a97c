// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings of /dev/sgx_enclave. What a process maps of an enclave is the enclave's page table: together with the EPCM it
 * says what threads can do. The process itself sees all ones there, as on SGX.
 */
#include <linux/mman.h>
#include <linux/pfn_t.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "driver.h"

/* Entries of one SET_PTE. */
#define ENTRIES 512u
#define ROUNDS 4096

static struct page *all_ones;

int mmap_open(void)
{
	all_ones = alloc_page(GFP_KERNEL);
	if (!all_ones)
		return -ENOMEM;
	memset(page_address(all_ones), 0xff, PAGE_SIZE);
	return 0;
}

void mmap_close(void)
{
	__free_page(all_ones);
}

static u32 rights_of(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_READ ? SECINFO_R : 0) | (vma->vm_flags & VM_WRITE ? SECINFO_W : 0) |
	       (vma->vm_flags & VM_EXEC ? SECINFO_X : 0);
}

/* No mapping gives more than the pages of the range were added with; pages that are not there yet do not matter. */
static int may_map(struct sgx_file *f, unsigned long start, unsigned long end, unsigned long flags)
{
	u32 wanted = (flags & VM_READ ? SECINFO_R : 0) | (flags & VM_WRITE ? SECINFO_W : 0) | (flags & VM_EXEC ? SECINFO_X : 0);
	unsigned long index, first, last;
	struct page_entry entry;
	void *value;

	if (current->personality & READ_IMPLIES_EXEC)
		return -EACCES;
	if (!f->created)
		return 0;
	if (f->initialised && (start < f->core.base || end > f->core.base + f->core.size))
		return -EACCES;
	if (end <= f->core.base || start >= f->core.base + f->core.size)
		return 0;
	first = (max(start, f->core.base) - f->core.base) / NSGX_PAGE;
	last = (min(end, f->core.base + f->core.size) - 1 - f->core.base) / NSGX_PAGE;
	xa_for_each_range(&f->pages, index, value, first, last)
		if (page_find(f, index, &entry) && (wanted & ~entry.most))
			return -EACCES;
	return 0;
}

static vm_fault_t sgx_vma_fault(struct vm_fault *vmf)
{
	if (vmf->flags & FAULT_FLAG_WRITE)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn_prot(vmf->vma, vmf->address, page_to_pfn(all_ones), PAGE_READONLY);
}

static int sgx_vma_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long flags)
{
	struct sgx_file *f = vma->vm_private_data;
	int error = may_map(f, start, end, flags);

	/* The page table follows when a thread meets the change: less at the next ENCLU, more at its fault. */
	if (!error)
		set_bit(NSGX_MAPPINGS_CHANGED, &f->core.state);
	return error;
}

static void sgx_vma_close(struct vm_area_struct *vma)
{
	struct sgx_file *f = vma->vm_private_data;

	set_bit(NSGX_MAPPINGS_CHANGED, &f->core.state);
}

static const struct vm_operations_struct operations = {
	.fault = sgx_vma_fault,
	.mprotect = sgx_vma_mprotect,
	.close = sgx_vma_close,
	.access = sgx_vma_access,
};

int sgx_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct sgx_file *f = file->private_data;
	int error = may_map(f, vma->vm_start, vma->vm_end, vma->vm_flags);

	if (error)
		return error;
	vma->vm_ops = &operations;
	vma->vm_flags |= VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_IO;
	vma->vm_private_data = f;
	set_bit(NSGX_MAPPINGS_CHANGED, &f->core.state);
	return 0;
}

struct pte_list {
	u64 *entries;
	u32 count;
};

static void flush(struct sgx_file *f, struct pte_list *list)
{
	struct nsgx_result r;
	u32 done = 0;

	for (u32 rounds = 0; done < list->count && rounds < ROUNDS; rounds++) {
		if (nsgx_svsm(NSGX_SET_PTE, f->core.secs, nsgx_gpa(list->entries + done), list->count - done, &r))
			break;
		if (r.rax != SVSM_INCOMPLETE && r.rax != SVSM_SUCCESS)
			break;
		done += min_t(u64, r.rdx, list->count - done);
		if (r.rax == SVSM_SUCCESS && !r.rdx)
			break;
	}
	list->count = 0;
}

void follow_mappings(struct sgx_file *f, unsigned long from, unsigned long to)
{
	struct pte_list list = { nsgx_alloc(1), 0 };
	struct mm_struct *mm = current->mm;
	unsigned long index;
	void *value;

	if (!list.entries)
		return;
	xa_for_each_range(&f->pages, index, value, (from - f->core.base) / NSGX_PAGE, (to - 1 - f->core.base) / NSGX_PAGE) {
		unsigned long address = f->core.base + index * NSGX_PAGE;
		struct vm_area_struct *vma;
		struct page_entry entry;
		u32 rights = 0;

		if (!page_find(f, index, &entry) || entry.evicted)
			continue;
		mmap_read_lock(mm);
		vma = find_vma(mm, address);
		if (vma && vma->vm_start <= address && vma->vm_ops == &operations && vma->vm_private_data == f)
			rights = rights_of(vma);
		mmap_read_unlock(mm);
		/* A TCS is used by the processor, whatever the mapping says. */
		if (entry.type == PT_TCS && rights)
			rights = SECINFO_RWX;
		if (rights == entry.pte)
			continue;
		list.entries[list.count++] = address | rights;
		entry.pte = rights;
		page_store(f, index, entry);
		if (list.count == ENTRIES)
			flush(f, &list);
	}
	flush(f, &list);
	nsgx_free(list.entries, 1);
}
