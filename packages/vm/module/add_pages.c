// SPDX-License-Identifier: GPL-2.0-only
/* SGX_IOC_ENCLAVE_ADD_PAGES: EADD and EEXTEND, many pages a call. The pages are copied once, into the window. */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

/* Pages of one call; the first page of the buffer has the operands. */
#define AT_ONCE 64u
#define SECINFO_AT 512
#define MEASURE 1ull
#define ROUNDS 4096

struct add_range {
	u64 secs, linaddr, src, length, secinfo, epc, flags;
};

int check_range(const struct sgx_file *f, u64 offset, u64 length)
{
	if (!IS_ALIGNED(offset, NSGX_PAGE) || !length || !IS_ALIGNED(length, NSGX_PAGE))
		return -EINVAL;
	if (offset + length < offset || offset + length > f->core.size)
		return -EINVAL;
	return 0;
}

/* Type REG or TCS, W needs R, a TCS without permissions, reserved bits zero. */
static int check_secinfo(const u64 *secinfo)
{
	u32 rights = secinfo[0] & SECINFO_RWX, type = secinfo[0] >> 8 & 0xff;

	if (type != PT_REG && type != PT_TCS)
		return -EINVAL;
	if ((rights & SECINFO_W) && !(rights & SECINFO_R))
		return -EINVAL;
	if (type == PT_TCS && rights)
		return -EINVAL;
	if (secinfo[0] & ~0xff07ull)
		return -EINVAL;
	for (u32 i = 1; i < 8; i++)
		if (secinfo[i])
			return -EINVAL;
	return 0;
}

/* Code is measured from memory that may be executed: no enclave comes from a file system mounted noexec. */
static int check_source(unsigned long address, u64 length)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	u64 at = address;
	int error = 0;

	mmap_read_lock(mm);
	while (at < address + length && !error) {
		vma = find_vma(mm, at);
		if (!vma || vma->vm_start > at)
			error = -EFAULT;
		else if (!(vma->vm_flags & VM_MAYEXEC))
			error = -EACCES;
		else
			at = vma->vm_end;
	}
	mmap_read_unlock(mm);
	return error;
}

/* Offsets in a TCS (SDM 3D, 34.8). */
#define TCS_OSSA 16
#define TCS_NSSA 28

static int note_tcs(struct sgx_file *f, unsigned long linaddr, const u8 *contents)
{
	if (f->tcs_count == f->tcs_room) {
		u32 room = f->tcs_room ? 2 * f->tcs_room : 16;
		struct sgx_thread *more = krealloc_array(f->threads, room, sizeof(*more), GFP_KERNEL);

		if (!more)
			return -ENOMEM;
		f->threads = more;
		f->tcs_room = room;
	}
	f->threads[f->tcs_count++] = (struct sgx_thread){
		.address = linaddr,
		.ossa = *(const u64 *)(contents + TCS_OSSA),
		.nssa = *(const u32 *)(contents + TCS_NSSA),
	};
	return 0;
}

/* Pages of the range that are not there yet, from `page` on. */
static u32 absent(struct sgx_file *f, unsigned long page, u32 wanted)
{
	unsigned long at = page;

	return xa_find(&f->pages, &at, page + wanted - 1, XA_PRESENT) ? (u32)(at - page) : wanted;
}

static int enter_pages(struct sgx_file *f, unsigned long page, u32 frame, u32 count, u64 secinfo,
		       const u8 *contents)
{
	u8 rights = secinfo & SECINFO_RWX, type = secinfo >> 8 & 0xff;
	int error = 0;

	for (u32 i = 0; i < count && !error; i++) {
		struct page_entry entry = {
			.frame = frame + i,
			.type = type,
			.most = type == PT_TCS ? SECINFO_R | SECINFO_W : rights,
			.pte = SECINFO_RWX,
		};

		error = page_store(f, page + i, entry);
		if (!error && type == PT_TCS)
			error = note_tcs(f, f->core.base + (page + i) * NSGX_PAGE, contents + i * NSGX_PAGE);
	}
	return error;
}

/* Adds `count` pages whose contents lie in the buffer. Returns how many were added, or an error. */
static int add(struct sgx_file *f, u8 *buffer, unsigned long page, u32 count, const u64 *secinfo, u64 flags)
{
	struct add_range *range = (struct add_range *)buffer;
	struct nsgx_result r;
	u32 frame, taken = epc_get(f, count, &frame), done = 0;
	int error = 0;

	if (!taken)
		return -ENOMEM;
	memcpy(buffer + SECINFO_AT, secinfo, 64);
	for (u32 rounds = 0; done < taken && !error; rounds++) {
		*range = (struct add_range){
			.secs = f->core.secs,
			.linaddr = f->core.base + (page + done) * NSGX_PAGE,
			.src = nsgx_gpa(buffer + NSGX_PAGE) + done * NSGX_PAGE,
			.length = (taken - done) * NSGX_PAGE,
			.secinfo = nsgx_gpa(buffer + SECINFO_AT),
			.epc = epc_gpa(frame + done),
			.flags = flags & SGX_PAGE_MEASURE ? MEASURE : 0,
		};
		error = nsgx_svsm(NSGX_ADD_RANGE, nsgx_gpa(range), 0, 0, &r);
		if (error)
			break;
		if (r.rax == SVSM_SUCCESS || r.rax == SVSM_INCOMPLETE)
			done += min_t(u64, r.rdx / NSGX_PAGE, taken - done);
		if ((r.rax == SVSM_SUCCESS && (done < taken || (u32)r.rcx)) || (r.rax != SVSM_SUCCESS && r.rax != SVSM_INCOMPLETE) ||
		    rounds > ROUNDS)
			error = -EIO;
	}
	if (done < taken && remove_frames(f, frame + done, taken - done))
		epc_give(frame + done, taken - done);
	if (done && enter_pages(f, page, frame, done, secinfo[0], buffer + NSGX_PAGE))
		return -ENOMEM;
	return done ? (int)done : error;
}

static int add_all(struct sgx_file *f, struct sgx_enclave_add_pages *arg, const u64 *secinfo, u8 *buffer)
{
	unsigned long page = arg->offset / NSGX_PAGE, pages = arg->length / NSGX_PAGE, done = 0;
	int result = 0;

	while (done < pages) {
		u32 count = absent(f, page + done, min_t(unsigned long, pages - done, AT_ONCE));

		if (signal_pending(current)) {
			result = done ? -EINTR : -ERESTARTSYS;
			break;
		}
		if (!count) {
			result = -EBUSY;
			break;
		}
		if (copy_from_user(buffer + NSGX_PAGE, (void __user *)(arg->src + done * NSGX_PAGE), count * NSGX_PAGE)) {
			result = -EFAULT;
			break;
		}
		result = add(f, buffer, page + done, count, secinfo, arg->flags);
		if (result < 0)
			break;
		done += result;
		result = 0;
		cond_resched();
	}
	arg->count = done * NSGX_PAGE;
	return result;
}

int ioctl_add_pages(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_add_pages arg;
	u64 secinfo[8];
	u8 *buffer;
	int error;

	if (!f->created || f->initialised || f->closed)
		return -EINVAL;
	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	if (arg.flags & ~(u64)SGX_PAGE_MEASURE || !IS_ALIGNED(arg.src, NSGX_PAGE))
		return -EINVAL;
	error = check_range(f, arg.offset, arg.length);
	if (error)
		return error;
	if (copy_from_user(secinfo, (void __user *)arg.secinfo, sizeof(secinfo)))
		return -EFAULT;
	error = check_secinfo(secinfo);
	if (!error)
		error = check_source(arg.src, arg.length);
	if (error)
		return error;
	buffer = nsgx_alloc(AT_ONCE + 1);
	if (!buffer)
		return -ENOMEM;
	error = add_all(f, &arg, secinfo, buffer);
	nsgx_free(buffer, AT_ONCE + 1);
	if (copy_to_user(argument, &arg, sizeof(arg)))
		return -EFAULT;
	return error;
}
