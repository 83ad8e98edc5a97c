// SPDX-License-Identifier: GPL-2.0-only
/* SGX_IOC_ENCLAVE_INIT: gates for the threads, and EINIT. */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

#define SIGSTRUCT_BYTES 1808
#define SIGSTRUCT_VENDOR 16
#define VENDOR_INTEL 0x8086
#define TRIES 50

static int einit(struct sgx_file *f, const u8 *sigstruct)
{
	u8 *operands = nsgx_alloc(2);
	struct leaf_result leaf;
	int error = -EPERM;

	if (!operands)
		return -ENOMEM;
	memcpy(operands, sigstruct, SIGSTRUCT_BYTES);
	memset(operands + NSGX_PAGE, 0, NSGX_PAGE); /* no EINITTOKEN: launch is flexible */
	for (u32 i = 0; i < TRIES; i++) {
		error = encls(ENCLS_EINIT, nsgx_gpa(operands), f->core.secs, nsgx_gpa(operands + NSGX_PAGE), &leaf);
		if (error)
			break;
		if (leaf.vector >= 0) {
			error = -EIO;
			break;
		}
		error = leaf.code ? -EPERM : 0;
		if (leaf.code != SGX_UNMASKED)
			break;
		if (signal_pending(current)) {
			error = -ERESTARTSYS;
			break;
		}
	}
	nsgx_free(operands, 2);
	return error;
}

static int bind_gates(struct sgx_file *f)
{
	u32 most = MAX_THREADS - 1, wanted = f->tcs_count + GATES_SPARE;

	if (f->core.gates)
		return 0;
	if (f->tcs_count > most)
		return -EINVAL;
	return nsgx_gates_bind(&f->core, min(wanted, most), nsgx_reserve_beside(&f->core));
}

static int init(struct sgx_file *f, const u8 *sigstruct)
{
	u32 vendor = *(const u32 *)(sigstruct + SIGSTRUCT_VENDOR);
	int error;

	if (vendor && vendor != VENDOR_INTEL)
		return -EINVAL;
	if (f->attributes & ~f->allowed)
		return -EACCES;
	error = bind_gates(f);
	if (!error)
		error = einit(f, sigstruct);
	if (error)
		return error;
	f->initialised = true;
	follow_mappings(f, f->core.base, f->core.base + f->core.size);
	set_bit(NSGX_ENCLAVE_RUNNABLE, &f->core.state);
	return 0;
}

int ioctl_init(struct sgx_file *f, void __user *argument)
{
	struct sgx_enclave_init arg;
	u8 *sigstruct;
	int error;

	if (!f->created || f->initialised || f->closed)
		return -EINVAL;
	if (copy_from_user(&arg, argument, sizeof(arg)))
		return -EFAULT;
	sigstruct = kmalloc(SIGSTRUCT_BYTES, GFP_KERNEL);
	if (!sigstruct)
		return -ENOMEM;
	error = copy_from_user(sigstruct, (void __user *)arg.sigstruct, SIGSTRUCT_BYTES) ? -EFAULT : init(f, sigstruct);
	kfree(sigstruct);
	return error;
}
