// SPDX-License-Identifier: GPL-2.0-only
/* SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS (EMODPR) and SGX_IOC_ENCLAVE_MODIFY_TYPES (EMODT), each with tracking. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "driver.h"

#define CONFLICT_TRIES 100
#define TRACK_EVERY 512

/* EMODPR or EMODT of one page; *code is what the leaf says. */
static int modify(u32 leaf_number, u64 flags, u32 frame, u64 *code)
{
	u64 *secinfo = nsgx_alloc(1);
	struct leaf_result leaf;
	int error;

	if (!secinfo)
		return -ENOMEM;
	memset(secinfo, 0, 64);
	secinfo[0] = flags;
	for (u32 tries = 0;; tries++) {
		error = encls(leaf_number, nsgx_gpa(secinfo), epc_gpa(frame), 0, &leaf);
		if (error || leaf.vector >= 0 || leaf.code != SGX_CONFLICT || tries == CONFLICT_TRIES)
			break;
	}
	nsgx_free(secinfo, 1);
	if (error)
		return error;
	*code = leaf.vector < 0 ? leaf.code : 0;
	return leaf_ok(&leaf) ? 0 : -EFAULT;
}

static int ready(const struct sgx_file *f, u64 offset, u64 length)
{
	return f->initialised && !f->closed ? check_range(f, offset, length) : -EINVAL;
}

typedef int (*serve_page)(struct sgx_file *f, unsigned long page, struct page_entry entry, u64 wanted, u64 *result);

static int each_page(struct sgx_file *f, u64 offset, u64 length, serve_page serve, u64 wanted, u64 *result, u64 *count)
{
	u64 done = 0, tracked = 0;
	int error = 0;

	for (; done < length && !error; done += error ? 0 : NSGX_PAGE) {
		unsigned long page = (offset + done) / NSGX_PAGE;
		struct page_entry entry;

		if (signal_pending(current))
			error = done ? -EINTR : -ERESTARTSYS;
		else if (!page_find(f, page, &entry))
			error = -EFAULT;
		else if (!entry.evicted || !(error = load_page(f, page)))
			error = page_find(f, page, &entry) ? serve(f, page, entry, wanted, result) : -EFAULT;
		if (!error && done + NSGX_PAGE - tracked == TRACK_EVERY * NSGX_PAGE) {
			tracked = done + NSGX_PAGE;
			error = track(f);
		}
		cond_resched();
	}
	if (done > tracked && track(f) && !error)
		error = -EFAULT;
	*count = done;
	return error;
}

static int restrict_page(struct sgx_file *f, unsigned long page, struct page_entry entry, u64 wanted, u64 *result)
{
	if (entry.type != PT_REG)
		return -EINVAL;
	return modify(ENCLS_EMODPR, wanted, entry.frame, result);
}

static int modify_page(struct sgx_file *f, unsigned long page, struct page_entry entry, u64 type, u64 *result)
{
	int error;

	if (entry.type != PT_REG && !(entry.type == PT_TCS && type == PT_TRIM))
		return -EINVAL;
	if (type == PT_TCS && (entry.most & (SECINFO_R | SECINFO_W)) != (SECINFO_R | SECINFO_W))
		return -EPERM;
	error = modify(ENCLS_EMODT, type << 8, entry.frame, result);
	if (error)
		return error;
	f->new_threads |= type == PT_TCS;
	entry.type = type;
	if (type == PT_TCS)
		entry.most = SECINFO_R | SECINFO_W;
	return page_store(f, page, entry);
}

int ioctl_restrict_permissions(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_restrict_permissions arg;
	int error;

	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	error = ready(f, arg.offset, arg.length);
	if (error)
		return error;
	if (arg.permissions & ~(u64)SECINFO_RWX)
		return -EINVAL;
	if ((arg.permissions & SECINFO_W) && !(arg.permissions & SECINFO_R))
		return -EINVAL;
	if (arg.result || arg.count)
		return -EINVAL;
	error = each_page(f, arg.offset, arg.length, restrict_page, arg.permissions, &arg.result, &arg.count);
	return copy_to_user(argument, &arg, sizeof(arg)) ? -EFAULT : error;
}

int ioctl_modify_types(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_modify_types arg;
	int error;

	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	error = ready(f, arg.offset, arg.length);
	if (error)
		return error;
	if (arg.page_type & ~0xffull || arg.result || arg.count)
		return -EINVAL;
	if (arg.page_type != PT_TCS && arg.page_type != PT_TRIM)
		return -EINVAL;
	error = each_page(f, arg.offset, arg.length, modify_page, arg.page_type, &arg.result, &arg.count);
	return copy_to_user(argument, &arg, sizeof(arg)) ? -EFAULT : error;
}
