/* SPDX-License-Identifier: GPL-2.0-only */
/* Between notifier.c and enclave_object.c. */
#ifndef NSGX_NOTIFIER_H
#define NSGX_NOTIFIER_H

#include "nsgx.h"

/* One address space that owns enclaves; lives as long as one of them does. */
struct nsgx_mm {
	struct mmu_notifier notifier;
	struct mm_struct *mm;
	struct hlist_node hash;
	spinlock_t lock; /* enclaves, invalidating, ended */
	struct list_head enclaves;
	u32 invalidating; /* changes under way, as every enclave's revocation page says */
	bool ended;
	struct mutex reserve_lock;
	bool reserved; /* the ranges that runners need are taken */
	struct rcu_head rcu;
};

struct nsgx_mm *nsgx_owner_get(void);
void nsgx_owner_put(struct nsgx_mm *owner);
/* -ESRCH when the address space has ended. */
int nsgx_owner_link(struct nsgx_mm *owner, struct nsgx_enclave *e);
/* Nobody finds the enclave any more, and no revocation of it is under way. */
void nsgx_owner_unlink(struct nsgx_enclave *e);
/* Makes the page, which is zero, the enclave's revocation page. */
void nsgx_owner_set_revoke(struct nsgx_enclave *e, struct revoke *page);

#endif
