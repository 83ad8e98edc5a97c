// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/nsgx_quote: reading gives the TARGETINFO of the monitor's quoting enclave (512 bytes); writing a REPORT that was made
 * for it (432 bytes), and then reading, gives the quote. What is read and written is public.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

#define REPORT_BYTES 432
#define TARGETINFO_BYTES 512
#define QUOTE_PAGES 8

struct answer {
	size_t bytes;
	u8 data[QUOTE_PAGES * NSGX_PAGE];
};

static int quote_open(struct inode *inode, struct file *file)
{
	struct answer *answer = kvzalloc(sizeof(*answer), GFP_KERNEL);
	void *page = nsgx_alloc(1);
	struct nsgx_result r;
	int error = answer && page ? 0 : -ENOMEM;

	if (!error)
		error = nsgx_svsm(NSGX_QE_TARGETINFO, nsgx_gpa(page), 0, 0, &r);
	if (!error && r.rax != SVSM_SUCCESS)
		error = -EIO;
	if (!error) {
		memcpy(answer->data, page, TARGETINFO_BYTES);
		answer->bytes = TARGETINFO_BYTES;
		file->private_data = answer;
	} else {
		kvfree(answer);
	}
	nsgx_free(page, page ? 1 : 0);
	return error;
}

static int quote_release(struct inode *inode, struct file *file)
{
	kvfree(file->private_data);
	return 0;
}

static ssize_t quote_write(struct file *file, const char __user *from, size_t bytes, loff_t *at)
{
	struct answer *answer = file->private_data;
	struct nsgx_result r;
	u8 *pages;
	int error;

	if (bytes != REPORT_BYTES)
		return -EINVAL;
	pages = nsgx_alloc(QUOTE_PAGES + 1);
	if (!pages)
		return -ENOMEM;
	error = copy_from_user(pages, from, REPORT_BYTES) ? -EFAULT : 0;
	if (!error)
		error = nsgx_svsm(NSGX_QUOTE, nsgx_gpa(pages), nsgx_gpa(pages + NSGX_PAGE), QUOTE_PAGES * NSGX_PAGE, &r);
	if (!error && (r.rax != SVSM_SUCCESS || r.rcx > QUOTE_PAGES * NSGX_PAGE))
		error = r.rax == SVSM_INVALID_PARAMETER ? -EINVAL : -EIO;
	if (!error) {
		memcpy(answer->data, pages + NSGX_PAGE, r.rcx);
		answer->bytes = r.rcx;
		*at = 0;
	}
	nsgx_free(pages, QUOTE_PAGES + 1);
	return error ? error : (ssize_t)bytes;
}

static ssize_t quote_read(struct file *file, char __user *to, size_t bytes, loff_t *at)
{
	struct answer *answer = file->private_data;

	return simple_read_from_buffer(to, bytes, at, answer->data, answer->bytes);
}

const struct file_operations quote_operations = {
	.owner = THIS_MODULE,
	.open = quote_open,
	.release = quote_release,
	.read = quote_read,
	.write = quote_write,
	.llseek = default_llseek,
};
