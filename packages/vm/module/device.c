// SPDX-License-Identifier: GPL-2.0-only
/* /dev/sgx_enclave and its siblings: opening, ioctls, closing. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/miscdevice.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "driver.h"

#define IN_IOCTL 0

static int sgx_open(struct inode *inode, struct file *file)
{
	struct sgx_file *f = kzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return -ENOMEM;
	nsgx_enclave_init(&f->core);
	mutex_init(&f->lock);
	xa_init(&f->pages);
	INIT_LIST_HEAD(&f->files);
	INIT_LIST_HEAD(&f->versions);
	f->allowed = ATTRIBUTES_FREE;
	file->private_data = f;
	return 0;
}

static void end(struct sgx_file *f)
{
	if (f->closed)
		return;
	f->closed = true;
	nsgx_enclave_detach(&f->core);
	take_down(f);
}

/* The last descriptor and the last mapping are gone. */
static int sgx_release(struct inode *inode, struct file *file)
{
	struct sgx_file *f = file->private_data;

	mutex_lock(&f->lock);
	end(f);
	mutex_unlock(&f->lock);
	nsgx_enclave_put(&f->core);
	return 0;
}

/* Its frames are somebody else's need: they do not wait for descriptors that other processes may hold. */
void nsgx_driver_mm_gone(struct nsgx_enclave *e)
{
}

void nsgx_driver_free(struct nsgx_enclave *e)
{
	struct sgx_file *f = sgx_file_of(e);

	kfree(f->threads);
	kfree(f);
}

static int serve(struct sgx_file *f, unsigned int command, void __user *argument)
{
	switch (command) {
	case SGX_IOC_ENCLAVE_CREATE:
		return ioctl_create(f, argument);
	case SGX_IOC_ENCLAVE_ADD_PAGES:
		return ioctl_add_pages(f, argument);
	case SGX_IOC_ENCLAVE_INIT:
		return ioctl_init(f, argument);
	case SGX_IOC_ENCLAVE_PROVISION:
		return ioctl_provision(f, argument);
	case SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS:
		return ioctl_restrict_permissions(f, argument);
	case SGX_IOC_ENCLAVE_MODIFY_TYPES:
		return ioctl_modify_types(f, argument);
	case SGX_IOC_ENCLAVE_REMOVE_PAGES:
		return ioctl_remove_pages(f, argument);
	}
	return -ENOIOCTLCMD;
}

static long sgx_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct sgx_file *f = file->private_data;
	int error;

	/* Linux serves one at a time, too, and tells who comes meanwhile. */
	if (test_and_set_bit(IN_IOCTL, &f->in_ioctl))
		return -EBUSY;
	mutex_lock(&f->lock);
	error = serve(f, command, (void __user *)argument);
	mutex_unlock(&f->lock);
	clear_bit(IN_IOCTL, &f->in_ioctl);
	return error;
}

static unsigned long sgx_get_unmapped_area(struct file *file, unsigned long address, unsigned long length,
					   unsigned long offset, unsigned long flags)
{
	if ((flags & MAP_TYPE) == MAP_PRIVATE)
		return -EINVAL;
	if (flags & MAP_FIXED)
		return address;
	return current->mm->get_unmapped_area(file, address, length, offset, flags);
}

static const struct file_operations enclave_operations = {
	.owner = THIS_MODULE,
	.open = sgx_open,
	.release = sgx_release,
	.unlocked_ioctl = sgx_ioctl,
	.mmap = sgx_mmap,
	.get_unmapped_area = sgx_get_unmapped_area,
};

static struct miscdevice devices[] = {
	{ .minor = MISC_DYNAMIC_MINOR, .name = "sgx_enclave", .nodename = "sgx_enclave", .mode = 0666, .fops = &enclave_operations },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "sgx_provision", .nodename = "sgx_provision", .mode = 0600, .fops = &provision_operations },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "nsgx_quote", .nodename = "nsgx_quote", .mode = 0666, .fops = &quote_operations },
};

int nsgx_driver_open(void)
{
	int error = epc_open();

	if (error)
		return error;
	error = mmap_open();
	if (error)
		goto epc;
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++) {
		error = misc_register(&devices[i]);
		if (!error)
			continue;
		while (i--)
			misc_deregister(&devices[i]);
		goto mappings;
	}
	return 0;
mappings:
	mmap_close();
epc:
	epc_close();
	return error;
}

void nsgx_driver_close(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++)
		misc_deregister(&devices[i]);
	mmap_close();
	epc_close();
}
