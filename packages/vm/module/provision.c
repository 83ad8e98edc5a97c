// SPDX-License-Identifier: GPL-2.0-only
/* /dev/sgx_provision: who may open it may let its enclaves have the provisioning key. */
#include <linux/file.h>
#include <linux/module.h>

#include "driver.h"

const struct file_operations provision_operations = {
	.owner = THIS_MODULE,
};

bool is_provision_file(int fd)
{
	struct file *file = fget(fd);
	bool is = file && file->f_op == &provision_operations;

	if (file)
		fput(file);
	return is;
}
