// SPDX-License-Identifier: GPL-2.0-only
/* ENCLS leaves: calls of the monitor whose answer is an SGX error code or an exception. */
#include <linux/delay.h>

#include "driver.h"

#define REMOVE_MS 250

static int answered(const struct nsgx_result *r, struct leaf_result *out)
{
	*out = (struct leaf_result){ .vector = -1, .rdx = r->rdx };
	if (r->rax == SVSM_SUCCESS) {
		out->code = (u32)r->rcx;
		return 0;
	}
	if (r->rax < SVSM_FAULT || r->rax >= SVSM_FAULT + 32)
		return -EIO;
	out->vector = (int)(r->rax - SVSM_FAULT);
	out->code = (u32)r->rcx;
	return 0;
}

int encls(u32 leaf, u64 rbx, u64 rcx, u64 rdx, struct leaf_result *out)
{
	struct nsgx_result r;
	int error = nsgx_svsm(leaf, rbx, rcx, rdx, &r);

	return error ? error : answered(&r, out);
}

bool remove_frames(struct sgx_file *f, u32 first, u32 count)
{
	struct leaf_result leaf;
	struct nsgx_result r;
	u32 done = 0, tries = 0;
	bool stopped = false;

	while (done < count) {
		if (nsgx_svsm(NSGX_REMOVE_RANGE, epc_gpa(first + done), count - done, 0, &r))
			return false;
		if (r.rax == SVSM_INCOMPLETE) {
			done += min_t(u64, r.rdx / NSGX_PAGE, count - done);
			continue;
		}
		if (answered(&r, &leaf))
			return false;
		if (leaf.vector < 0)
			done += min_t(u64, r.rdx / NSGX_PAGE, count - done);
		if (leaf_ok(&leaf))
			continue;
		if (leaf.vector >= 0 || leaf.code != SGX_ACTIVE || (stopped && tries > REMOVE_MS))
			return false;
		/* An entry may come from noise in a gate page, and an enclave may lie about its threads. */
		if (!nsgx_kick_out(&f->core) && f->closed && !stopped) {
			nsgx_enclave_stop(&f->core);
			stopped = true;
		}
		tries++;
		usleep_range(1000, 2000);
	}
	return true;
}
