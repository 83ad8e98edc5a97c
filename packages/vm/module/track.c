// SPDX-License-Identifier: GPL-2.0-only
/* ETRACK, and interrupts for whoever is inside. */
#include "driver.h"

#define TRIES 20

int track(struct sgx_file *f)
{
	struct leaf_result leaf;

	for (u32 tries = 0;; tries++) {
		int error = encls(ENCLS_ETRACK, 0, f->core.secs, 0, &leaf);

		if (error)
			return error;
		if (leaf_ok(&leaf))
			break;
		if (leaf.vector >= 0 || tries == TRIES)
			return -EFAULT;
		/* The cycle before is not complete: somebody is inside since then. */
		nsgx_kick_out(&f->core);
	}
	return nsgx_kick_out(&f->core) ? 0 : -EFAULT;
}
