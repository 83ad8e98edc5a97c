// SPDX-License-Identifier: GPL-2.0-only
/* SGX_IOC_ENCLAVE_CREATE and SGX_IOC_ENCLAVE_PROVISION. */
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

/* Offsets in a SECS (SDM 3D, 34.7). */
#define SECS_SIZE 0
#define SECS_BASEADDR 8
#define SECS_SSAFRAMESIZE 16
#define SECS_ATTRIBUTES 48
/* In the page of operands: PAGEINFO, then SECINFO; the SECS is the next page. */
#define SECINFO_AT 64

static int ecreate(const void *secs_page, u32 frame, struct leaf_result *out)
{
	u8 *operands = nsgx_alloc(2);
	u64 *pageinfo = (u64 *)operands;
	int error;

	if (!operands)
		return -ENOMEM;
	memset(operands, 0, NSGX_PAGE);
	memcpy(operands + NSGX_PAGE, secs_page, NSGX_PAGE);
	pageinfo[1] = nsgx_gpa(operands + NSGX_PAGE);
	pageinfo[2] = nsgx_gpa(operands + SECINFO_AT);
	error = encls(ENCLS_ECREATE, nsgx_gpa(operands), epc_gpa(frame), 0, out);
	nsgx_free(operands, 2);
	return error;
}

static int create(struct sgx_file *f, const u8 *secs)
{
	struct leaf_result leaf;
	u32 frame;
	int error;

	if (!epc_get(f, 1, &frame))
		return -ENOMEM;
	error = ecreate(secs, frame, &leaf);
	if (error || !leaf_ok(&leaf)) {
		epc_give(frame, 1);
		return error ? error : -EIO;
	}
	f->core.secs = epc_gpa(frame);
	f->core.base = *(const u64 *)(secs + SECS_BASEADDR);
	f->core.size = *(const u64 *)(secs + SECS_SIZE);
	f->ssa_pages = *(const u32 *)(secs + SECS_SSAFRAMESIZE);
	f->attributes = *(const u64 *)(secs + SECS_ATTRIBUTES);
	f->created = true;
	error = nsgx_enclave_attach(&f->core);
	if (!error) {
		reclaim_add(f);
		return 0;
	}
	f->created = false;
	if (remove_frames(f, frame, 1))
		epc_give(frame, 1);
	f->core.secs = f->core.base = f->core.size = 0;
	return error;
}

int ioctl_create(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_create arg;
	u8 *secs;
	int error;

	if (f->created || f->closed)
		return -EINVAL;
	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	secs = kmalloc(NSGX_PAGE, GFP_KERNEL);
	if (!secs)
		return -ENOMEM;
	error = copy_from_user(secs, (void __user *)arg.src, NSGX_PAGE) ? -EFAULT : create(f, secs);
	kfree(secs);
	if (!error && f->provision) {
		struct nsgx_result r;

		nsgx_svsm(NSGX_AUTHORIZE_PROVISION, f->core.secs, 0, 0, &r);
	}
	return error;
}

int ioctl_provision(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_provision arg;
	struct nsgx_result r;

	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	if (!is_provision_file((int)arg.fd))
		return -EINVAL;
	f->allowed |= ATTRIBUTE_PROVISIONKEY;
	f->provision = true;
	if (f->created && (nsgx_svsm(NSGX_AUTHORIZE_PROVISION, f->core.secs, 0, 0, &r) || r.rax != SVSM_SUCCESS))
		return -EACCES;
	return 0;
}
